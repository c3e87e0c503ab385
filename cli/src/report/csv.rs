//! CSV as RFC 4180 has it, safe to open in a spreadsheet.

use serde_json::Value;

use super::text;

/// A head and a line for each row.
pub fn write(columns: &[&str], rows: &[Value]) -> String {
    let head = columns.iter().map(|column| (*column).to_owned()).collect();
    let lines = rows
        .iter()
        .map(|row| columns.iter().map(|column| text(row, column)).collect());
    std::iter::once(head)
        .chain(lines)
        .map(|cells: Vec<String>| line(&cells))
        .collect()
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|text| cell(text)).collect();
    format!("{}\r\n", cells.join(","))
}

/// A spreadsheet takes text that begins with one of these for a formula, and a formula can send away what is beside it: an
/// apostrophe before it makes it text.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\r', '\n', ';', '\'']) || text.trim() != text {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_quoted_and_none_is_a_formula() {
        for (text, written) in [
            ("plain text", "plain text"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            (" edge ", "\" edge \""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("@SUM(1)", "\"'@SUM(1)\""),
            ("-1", "\"'-1\""),
            ("+1", "\"'+1\""),
            ("\tx", "\"'\tx\""),
            ("a=b", "a=b"),
        ] {
            assert_eq!(cell(text), written, "{text}");
        }
    }

    #[test]
    fn rows_follow_the_columns() {
        let rows = [
            json!({"b": 0.25, "a": ["x", "y"], "c": null}),
            json!({"a": [], "b": true}),
        ];
        assert_eq!(write(&["a", "b", "c"], &rows), "a,b,c\r\nx y,0.25,\r\n,true,\r\n");
    }
}
