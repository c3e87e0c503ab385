//! The report of what was asked for, summed up by the columns that are wanted.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::text;

/// The columns that rows are told apart by, in this order, and the sums.
const KEYS: [&str; 3] = ["day", "tenant", "operation"];
const SUMS: [&str; 2] = ["performed", "failed"];

/// The columns of the sums by `by`.
pub fn columns(by: &[String]) -> Vec<&'static str> {
    wanted(by).chain(SUMS).collect()
}

/// One row for each combination of the columns `by`, in their order.
pub fn sum(rows: &[Value], by: &[String]) -> Vec<Value> {
    let mut sums: BTreeMap<Vec<String>, [u64; 2]> = BTreeMap::new();
    for row in rows {
        let key = wanted(by).map(|column| text(row, column)).collect();
        let sum = sums.entry(key).or_default();
        for (sum, column) in sum.iter_mut().zip(SUMS) {
            *sum = sum.saturating_add(row.get(column).and_then(Value::as_u64).unwrap_or(0));
        }
    }
    let rows = sums.into_iter().map(|(key, sums)| {
        let keys = wanted(by)
            .zip(key)
            .map(|(column, value)| (column.to_owned(), json!(value)));
        let sums = SUMS
            .into_iter()
            .zip(sums)
            .map(|(column, sum)| (column.to_owned(), json!(sum)));
        Value::Object(keys.chain(sums).collect::<Map<_, _>>())
    });
    rows.collect()
}

fn wanted(by: &[String]) -> impl Iterator<Item = &'static str> {
    KEYS.into_iter()
        .filter(|column| by.iter().any(|wanted| wanted == column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_summed_by_what_is_asked() {
        let row = |day: &str, tenant: &str, operation: &str, performed: u64| json!({"day": day, "tenant": tenant, "operation": operation, "performed": performed, "failed": 1});
        let rows = [
            row("2026-01-02", "2", "Sign", 1),
            row("2026-01-01", "1", "Sign", 2),
            row("2026-01-02", "1", "Sign", 4),
            row("2026-01-02", "1", "Encrypt", 8),
        ];
        let by = |columns: &[&str]| columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            sum(&rows, &by(&["operation", "tenant"])),
            [
                json!({"tenant": "1", "operation": "Encrypt", "performed": 8, "failed": 1}),
                json!({"tenant": "1", "operation": "Sign", "performed": 6, "failed": 2}),
                json!({"tenant": "2", "operation": "Sign", "performed": 1, "failed": 1}),
            ]
        );
        assert_eq!(sum(&rows, &by(&["day"])).len(), 2);
        assert_eq!(
            columns(&by(&["operation", "day"])),
            ["day", "operation", "performed", "failed"]
        );
    }
}
