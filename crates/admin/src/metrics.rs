//! Prometheus' text form (exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Takes one sample: its name, its labels, its value. A name that ends in `_total` is a counter, any other a gauge.
pub type Visit<'a> = dyn FnMut(&str, &[(&str, &str)], f64) + 'a;

/// Something that has numbers: hands every sample that it has to the visitor, now.
pub type Source = Box<dyn Fn(&mut Visit<'_>) + Send + Sync>;

/// All samples of all sources. Samples of one name stand together, as the format wants, whichever source they are of.
pub(crate) fn render(sources: &[Source]) -> String {
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    for source in sources {
        source(&mut |name, labels, value| {
            let lines = families.entry(name.to_owned()).or_default();
            write_sample(lines, name, labels, value);
        });
    }
    let mut text = String::new();
    for (name, lines) in families {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        // Writing into a string does not fail.
        let _ = write!(text, "# TYPE {name} {kind}\n{lines}");
    }
    text
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
    fn large_counts_are_written_in_full() {
        let source: Source = Box::new(|visit| visit("bytes_total", &[], 1e15));
        assert!(render(&[source]).ends_with("bytes_total 1000000000000000\n"));
    }
}
