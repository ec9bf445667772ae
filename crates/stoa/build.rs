//! Puts the built meeting page into the binary: writes a table of its files for `src/page.rs`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let web = manifest.join("../../web/meet");
    let page = web.join("dist");
    // A path that is not there counts as changed every time: without a built page, its project is watched instead.
    let watched = [&page, &web].into_iter().find(|path| path.is_dir());
    println!("cargo::rerun-if-changed={}", watched.unwrap_or(&manifest).display());
    println!("cargo::rerun-if-changed=build.rs");
    let mut files = Vec::new();
    collect(&page, &mut files);
    files.sort();
    let mut table = String::from("&[\n");
    for file in files {
        let name = file.strip_prefix(&page).expect("it was found below").to_str().expect("its name is text");
        let file = file.canonicalize().expect("it was just listed");
        writeln!(table, "    ({name:?}, include_bytes!({file:?})),").expect("strings grow");
    }
    table.push(']');
    fs::write(out.join("page.rs"), table).expect("cargo made the directory");
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    // No directory: no page was built.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
