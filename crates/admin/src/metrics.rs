//! Prometheus' text form (exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Takes one sample: its name, its labels, its value.
///
/// The name tells the type: it ends in `_total` for a counter; in `_bucket` (with the label `le`), then `_sum` and
/// `_count` for a histogram; any other is a gauge.
pub type Visit<'a> = dyn FnMut(&str, &[(&str, &str)], f64) + 'a;

/// Something that has numbers: hands every sample that it has to the visitor, now.
pub type Source = Box<dyn Fn(&mut Visit<'_>) + Send + Sync>;

/// Samples that stand together under one type.
struct Family {
    kind: &'static str,
    lines: String,
}

/// All samples of all sources. Samples of one name stand together, as the format wants, whichever source they are of.
pub(crate) fn render(sources: &[Source]) -> String {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for source in sources {
        source(&mut |name, labels, value| {
            let (family, kind) = family(name, &families);
            let family = family.to_owned();
            let family = families.entry(family).or_insert_with(|| Family { kind, lines: String::new() });
            write_sample(&mut family.lines, name, labels, value);
        });
    }
    let mut text = String::new();
    for (name, family) in families {
        // Writing into a string does not fail.
        let _ = write!(text, "# TYPE {name} {}\n{}", family.kind, family.lines);
    }
    text
}

/// Name and type of the family that a sample belongs to.
fn family<'a>(name: &'a str, known: &BTreeMap<String, Family>) -> (&'a str, &'static str) {
    if let Some(histogram) = name.strip_suffix("_bucket") {
        return (histogram, "histogram");
    }
    let summary = name.strip_suffix("_sum").or_else(|| name.strip_suffix("_count"));
    match summary.filter(|base| known.get(*base).is_some_and(|family| family.kind == "histogram")) {
        Some(histogram) => (histogram, "histogram"),
        None if name.ends_with("_total") => (name, "counter"),
        None => (name, "gauge"),
    }
}

fn write_sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    out.push_str(name);
    for (at, (label, text)) in labels.iter().enumerate() {
        out.push(if at == 0 { '{' } else { ',' });
        out.push_str(label);
        out.push_str("=\"");
        for c in text.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    if !labels.is_empty() {
        out.push('}');
    }
    let _ = writeln!(out, " {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_name_stand_together_under_one_type() {
        let worker: Source = Box::new(|visit| {
            visit("stoa_drops_total", &[("worker", "0"), ("reason", "a")], 3.0);
            visit("stoa_peers", &[], 2.0);
        });
        let livekit: Source = Box::new(|visit| visit("stoa_drops_total", &[("reason", "b")], 1.5));
        assert_eq!(
            render(&[worker, livekit]),
            "# TYPE stoa_drops_total counter\n\
             stoa_drops_total{worker=\"0\",reason=\"a\"} 3\n\
             stoa_drops_total{reason=\"b\"} 1.5\n\
             # TYPE stoa_peers gauge\n\
             stoa_peers 2\n"
        );
    }

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        let source: Source = Box::new(|visit| visit("x", &[("l", "a\"b\\c\nd")], 1.0));
        assert_eq!(render(&[source]), "# TYPE x gauge\nx{l=\"a\\\"b\\\\c\\nd\"} 1\n");
    }

    #[test]
    fn a_histogram_is_one_family_over_several_sources() {
        let worker = |index: &'static str| -> Source {
            Box::new(move |visit| {
                visit("lag_bucket", &[("worker", index), ("le", "+Inf")], 2.0);
                visit("lag_sum", &[("worker", index)], 7.0);
                visit("lag_count", &[("worker", index)], 2.0);
                visit("rooms_count", &[], 1.0);
            })
        };
        let text = render(&[worker("0"), worker("1")]);
        let types: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        assert_eq!(types, ["# TYPE lag histogram", "# TYPE rooms_count gauge"]);
        assert!(text.contains("lag_count{worker=\"1\"} 2\n# TYPE"), "{text}");
    }

    #[test]
    fn large_counts_are_written_in_full() {
        let source: Source = Box::new(|visit| visit("bytes_total", &[], 1e15));
        assert!(render(&[source]).ends_with("bytes_total 1000000000000000\n"));
    }
}
