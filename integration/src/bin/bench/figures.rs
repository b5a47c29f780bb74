//! Figures and their form: a line of a table for each, and JSON lines. Owns medians and percentiles.

use std::time::Duration;

/// What one row of the table says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    /// Milliseconds; the median, beside the 99th percentile.
    Time,
    /// Millions of bytes.
    Memory,
    /// Hundredths of one core.
    Core,
    /// A number of things.
    Count,
    /// Thousands of millions of bits in a second.
    Rate,
}

/// What was measured, in the order in which it was first named.
#[derive(Default)]
pub(crate) struct Figures {
    rows: Vec<(String, Unit, Vec<f64>)>,
}

impl Figures {
    pub(crate) fn time(&mut self, name: &str, time: Duration) {
        self.push(name, Unit::Time, time.as_secs_f64() * 1000.0);
    }

    pub(crate) fn push(&mut self, name: &str, unit: Unit, value: f64) {
        match self.rows.iter_mut().find(|(known, ..)| known == name) {
            Some((.., values)) => values.push(value),
            None => self.rows.push((name.to_owned(), unit, vec![value])),
        }
    }

    /// The value below which this part of the values lies.
    fn quantile(values: &[f64], part: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in a short list"
        )]
        #[expect(clippy::cast_precision_loss, reason = "a list is short")]
        let place = (part * sorted.len() as f64) as usize;
        sorted
            .get(place.min(sorted.len().saturating_sub(1)))
            .copied()
            .unwrap_or(f64::NAN)
    }

    /// Prints the table; times also as multiples of the row `reference`.
    pub(crate) fn print(&self, title: &str, reference: &str) {
        let base = self.rows.iter().find(|(name, ..)| name == reference);
        let base = base.map(|(.., values)| Self::quantile(values, 0.5));
        println!(
            "\n{title}\n{:<70} {:>6} {:>10} {:>10} {:>7}",
            "", "runs", "median", "p99", "ratio"
        );
        for (name, unit, values) in &self.rows {
            let (median, p99) = (Self::quantile(values, 0.5), Self::quantile(values, 0.99));
            let unit_name = match unit {
                Unit::Time => "ms",
                Unit::Memory => "MB",
                Unit::Core => "% core",
                Unit::Count => "",
                Unit::Rate => "Gbit/s",
            };
            let ratio = match (unit, base) {
                (Unit::Time, Some(base)) => format!("{:>6.2}x", median / base),
                (Unit::Time | Unit::Memory | Unit::Core | Unit::Count | Unit::Rate, _) => {
                    String::new()
                }
            };
            println!(
                "{name:<70} {:>6} {median:>10.2} {p99:>10.2} {ratio:>7} {unit_name}",
                values.len()
            );
        }
    }

    /// Prints the same for programs.
    pub(crate) fn print_json(&self) {
        for (name, _, values) in &self.rows {
            let (median, p99) = (Self::quantile(values, 0.5), Self::quantile(values, 0.99));
            println!(
                "{}",
                serde_json::json!({"name": name, "median": median, "p99": p99, "runs": values.len()})
            );
        }
    }
}
