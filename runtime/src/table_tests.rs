//! Tables against the plain reading of their text.

use super::*;

fn table(kind: TableKind, text: &str) -> Result<Table, String> {
    let file = "plugins/t.csv".to_owned();
    let text = Arc::from(text.as_bytes());
    Table::parse(&TableSource { file, kind, text })
}

fn value(text: &str) -> Found {
    Found::Value(text.to_owned())
}

fn at(table: &Table, address: &str) -> Found {
    table.prefix(address.parse().unwrap())
}

#[test]
fn exact_keys_are_found_and_others_are_not() {
    let table = table(TableKind::Exact, "# who\n\nbob,b\r\nalice,a,1\nzoe,\n").unwrap();
    assert_eq!(table.get("alice"), value("a,1"));
    assert_eq!(table.get("bob"), value("b"));
    assert_eq!(table.get("zoe"), value(""));
    for none in ["", "al", "alicea", "# who", "carol"] {
        assert_eq!(table.get(none), Found::Nothing, "{none}");
    }
    assert_eq!(at(&table, "192.0.2.1"), Found::WrongKind);
}

#[test]
fn the_longest_prefix_answers() {
    let text = "0.0.0.0/0,any\n10.0.0.0/8,ten\n10.1.0.0/16,one\n10.1.2.0/24,two\n10.1.2.3,host\n2001:db8::/32,doc\n";
    let table = table(TableKind::Prefix, text).unwrap();
    for (address, expected) in [
        ("10.1.2.3", "host"),
        ("10.1.2.4", "two"),
        ("10.1.3.0", "one"),
        ("10.2.0.0", "ten"),
        ("11.0.0.0", "any"),
        ("9.255.255.255", "any"),
        ("::ffff:10.1.2.9", "two"),
        ("2001:db8:ffff::1", "doc"),
    ] {
        assert_eq!(at(&table, address), value(expected), "{address}");
    }
    assert_eq!(at(&table, "2001:db9::1"), Found::Nothing);
    assert_eq!(at(&table, "::1"), Found::Nothing);
    assert_eq!(table.get("10.1.2.3"), Found::WrongKind);
}

/// Every address of a small net, in random tables, as a look through all rows finds it.
#[test]
fn random_prefixes_answer_as_a_search_of_all_rows_does() {
    let mut seed = 0x5eed_u32;
    println!("seed {seed:#x}");
    for _ in 0..50 {
        let mut rows = std::collections::BTreeSet::new();
        for _ in 0..40 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let length = 24 + (seed >> 8) % 9;
            rows.insert(((seed >> 24) & (0xff << (32 - length)) & 0xff, length));
        }
        let text: String = rows
            .iter()
            .map(|(low, length)| format!("192.0.2.{low}/{length},{length}\n"))
            .collect();
        let table = table(TableKind::Prefix, &text).unwrap();
        for low in 0..256u32 {
            let longest = rows
                .iter()
                .filter(|(network, length)| low & (0xff << (32 - length)) & 0xff == *network)
                .map(|(_, length)| length)
                .max();
            let expected = longest.map_or(Found::Nothing, |length| value(&length.to_string()));
            assert_eq!(at(&table, &format!("192.0.2.{low}")), expected, "{low} in {text}");
        }
    }
}

// R22
#[test]
fn faults_are_told_with_file_and_line() {
    let long = format!("a,b\n{},c\n", "x".repeat(MAX_TABLE_FIELD + 1));
    for (kind, text, expected) in [
        (TableKind::Exact, "a,b\nc\n", "plugins/t.csv:2: no comma"),
        (TableKind::Exact, "a,b\n\n,c\n", "plugins/t.csv:3: an empty key"),
        (
            TableKind::Exact,
            "a,b\nb,c\na,d\n",
            "plugins/t.csv:3: the key of line 1 again",
        ),
        (
            TableKind::Exact,
            long.as_str(),
            "plugins/t.csv:2: a key or value of more than 256 bytes",
        ),
        (TableKind::Prefix, "office,b\n", "plugins/t.csv:1: not an IP prefix"),
        (
            TableKind::Prefix,
            "10.0.0.0/33,b\n",
            "plugins/t.csv:1: a prefix longer than 32 bits",
        ),
        (TableKind::Prefix, "10.1.0.0/8,b\n", "its network begins at 10.0.0.0"),
        (
            TableKind::Prefix,
            "10.0.0.0/8,a\n10.0.0.0/8,b\n",
            "plugins/t.csv:2: the prefix of line 1 again",
        ),
    ] {
        let error = table(kind, text).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let source = TableSource {
        file: "plugins/t.csv".into(),
        kind: TableKind::Exact,
        text: Arc::from(&b"a,b\nc,\xff\n"[..]),
    };
    assert_eq!(Table::parse(&source).unwrap_err(), "plugins/t.csv:2: not UTF-8 text");
}
