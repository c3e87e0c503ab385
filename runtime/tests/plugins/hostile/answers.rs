//! Answers that lie. A rule's answer is a record in its memory; here is an honest one of each kind, as bytes at addresses, and
//! every way to get one of its parts wrong: pointers, lengths, alignments, discriminants, texts, numbers.

use super::Case;

/// Bytes, and the address that they are at.
type Piece = (u32, Vec<u8>);

/// The size of the guest's memory, in bytes. The request is above the first half.
const END: u32 = 131_072;

// The canonical ABI of `result<verdict, refusal>`, `verdict`, `refusal` and `tuple<string, value>`.
const ANSWER: u32 = 1024;
const CAP: u32 = ANSWER + 4;
const CLAIMS: u32 = ANSWER + 12;
const CODE: u32 = ANSWER + 4;
const MESSAGE: u32 = ANSWER + 12;
const CLAIM: u32 = 2048;
const CASE: u32 = CLAIM + 8;
const PAYLOAD: u32 = CLAIM + 16;
const NAME: u32 = 4096;
const TEXT: u32 = 8192;
const ITEMS: u32 = 12_288;
const ITEM: u32 = 16_384;

/// The cases of `value`.
const KINDS: [(&str, u8); 6] = [
    ("text", 0),
    ("int", 1),
    ("float", 2),
    ("boolean", 3),
    ("texts", 4),
    ("json", 5),
];

fn words(at: u32, words: &[u32]) -> Piece {
    (at, words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// A verdict with one claim, of one of the cases of `value`.
fn verdict(kind: u8) -> Vec<Piece> {
    let payload = match kind {
        0 | 5 => words(PAYLOAD, &[TEXT, 4]),
        4 => words(PAYLOAD, &[ITEMS, 1]),
        _ => words(PAYLOAD, &[1, 0]),
    };
    vec![
        words(ANSWER, &[0, 0, 0, CLAIM, 1]),
        words(CLAIM, &[NAME, 4, u32::from(kind), 0]),
        payload,
        (NAME, b"name".to_vec()),
        (TEXT, b"true".to_vec()),
        words(ITEMS, &[ITEM, 4]),
        (ITEM, b"item".to_vec()),
    ]
}

fn refusal() -> Vec<Piece> {
    vec![
        words(ANSWER, &[1, NAME, 4, TEXT, 4]),
        (NAME, b"code".to_vec()),
        (TEXT, b"text".to_vec()),
    ]
}

/// A rule that answers with the bytes at `answer`.
fn rule(pieces: &[Piece], answer: u32) -> String {
    let mut text = String::from("(core module $rule\n  (import \"host\" \"memory\" (memory 1))\n");
    for (at, bytes) in pieces {
        let bytes: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        text += &format!("  (data (i32.const {at}) \"{bytes}\")\n");
    }
    text + &format!("  (func (export \"evaluate\") (param i32) (result i32) (i32.const {answer})))")
}

pub(super) fn honest() -> Vec<(String, String, &'static str)> {
    let verdicts = KINDS.map(|(name, kind)| (name.to_owned(), rule(&verdict(kind), ANSWER), "allowed"));
    let mut honest = verdicts.to_vec();
    honest.push(("refusal".to_owned(), rule(&refusal(), ANSWER), "refused"));
    honest.push(("at the last bytes".to_owned(), rule(&[], END - 20), "allowed"));
    honest
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut lie = |name: String, mut honest: Vec<Piece>, lies: &[Piece]| {
        honest.extend_from_slice(lies);
        cases.push(Case::new(name, &rule(&honest, ANSWER), "bad_output"));
    };
    addresses(&mut lie);
    discriminants(&mut lie);
    texts(&mut lie);
    values(&mut lie);
    for at in [
        1,
        2,
        1026,
        END - 16,
        END - 12,
        END - 4,
        END - 1,
        END,
        0x7fff_fffc,
        0x8000_0000,
        0xffff_ffec,
        u32::MAX,
    ] {
        cases.push(Case::new(format!("answer at {at:#x}"), &rule(&[], at), "bad_output"));
    }
    cases
}

/// A pointer and its length: where the two are, how they are aligned, and in which answer.
fn places() -> [(&'static str, u32, u32, Vec<Piece>); 8] {
    [
        ("claims", CLAIMS, 8, verdict(1)),
        ("a claim's name", CLAIM, 1, verdict(1)),
        ("a text", PAYLOAD, 1, verdict(0)),
        ("json", PAYLOAD, 1, verdict(5)),
        ("texts", PAYLOAD, 4, verdict(4)),
        ("one of texts", ITEMS, 1, verdict(4)),
        ("code", CODE, 1, refusal()),
        ("message", MESSAGE, 1, refusal()),
    ]
}

fn addresses(lie: &mut impl FnMut(String, Vec<Piece>, &[Piece])) {
    for (name, place, align, honest) in places() {
        for pointer in [END - 3, END, 0x7fff_fff8, 0x8000_0000, 0xffff_fff8, u32::MAX] {
            lie(
                format!("{name} at {pointer:#x}"),
                honest.clone(),
                &[words(place, &[pointer])],
            );
        }
        for length in [END, 0x1000_0000, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            lie(
                format!("{length:#x} of {name}"),
                honest.clone(),
                &[words(place + 4, &[length])],
            );
        }
        for off in 1..align {
            let pointer = (if place == CLAIMS { CLAIM } else { ITEMS }) + off;
            lie(
                format!("{name} off by {off}"),
                honest.clone(),
                &[words(place, &[pointer])],
            );
        }
    }
    for (name, place, length, honest) in [
        ("a text of more than a token has", PAYLOAD + 4, 16_385, verdict(0)),
        ("a name too long", CLAIM + 4, 129, verdict(1)),
        ("a code too long", CODE + 4, 65, refusal()),
        ("a message too long", MESSAGE + 4, 513, refusal()),
        ("a claim too many", CLAIMS + 4, 33, verdict(1)),
    ] {
        let printable = [NAME, TEXT].map(|at| (at, vec![b'a'; 20_000]));
        let mut lies = printable[usize::from(place != CLAIM + 4 && place != CODE + 4)..][..1].to_vec();
        lies.push(words(place, &[length]));
        lie(name.to_owned(), honest, &lies);
    }
}

fn discriminants(lie: &mut impl FnMut(String, Vec<Piece>, &[Piece])) {
    for wrong in [2, 3, 127, 128, 255] {
        lie(
            format!("case {wrong} of the answer"),
            refusal(),
            &[(ANSWER, vec![wrong])],
        );
        lie(
            format!("case {wrong} of the lifetime's cap"),
            verdict(1),
            &[(CAP, vec![wrong])],
        );
    }
    for wrong in [6, 7, 127, 128, 255] {
        lie(format!("case {wrong} of a value"), verdict(0), &[(CASE, vec![wrong])]);
    }
}

/// Not UTF-8: stray and missing continuations, overlong forms, surrogates, beyond U+10FFFF (RFC 3629, 3 and 4).
const NOT_UTF8: [&[u8]; 10] = [
    &[0xff],
    &[0x80],
    &[0xc0, 0x80],
    &[0xc3],
    &[0xe0, 0x80, 0x80],
    &[0xe2, 0x82],
    &[0xed, 0xa0, 0x80],
    &[0xf0, 0x80, 0x80, 0x80],
    &[0xf4, 0x90, 0x80, 0x80],
    &[0xf8, 0x88, 0x80, 0x80, 0x80],
];

fn texts(lie: &mut impl FnMut(String, Vec<Piece>, &[Piece])) {
    let places = [
        ("a claim's name", CLAIM, NAME, verdict(1)),
        ("a text", PAYLOAD, TEXT, verdict(0)),
        ("json", PAYLOAD, TEXT, verdict(5)),
        ("one of texts", ITEMS, ITEM, verdict(4)),
        ("code", CODE, NAME, refusal()),
        ("message", MESSAGE, TEXT, refusal()),
    ];
    let mut put = |what: String, place: usize, text: &[u8]| {
        let (name, pointer, at, honest) = &places[place];
        let length = words(pointer + 4, &[u32::try_from(text.len()).unwrap()]);
        lie(
            format!("{what} as {name}"),
            honest.clone(),
            &[(*at, text.to_vec()), length],
        );
    };
    for bytes in NOT_UTF8 {
        for place in 0..places.len() {
            put(format!("{bytes:02x?}"), place, bytes);
        }
    }
    for text in ["", "\n", "a\0", "\u{7f}", "\u{85}"] {
        put(format!("{text:?}"), 0, text.as_bytes());
    }
    let deep = "[".repeat(9) + &"]".repeat(9);
    let deeper = "[".repeat(4000);
    for text in [
        "",
        "{",
        "[1",
        "nul",
        "01",
        "1 2",
        "'a'",
        r#""\ud800""#,
        "1e999",
        &deep,
        &deeper,
    ] {
        put(format!("{text:.12}, {} bytes", text.len()), 2, text.as_bytes());
    }
    for text in ["", "A", "a-b", "a b", "a\0", "é", "a/b"] {
        put(format!("{text:?}"), 4, text.as_bytes());
    }
    for text in ["\n", "a\tb", "a\0", "\u{1b}[2J", "\u{7f}", "\u{85}"] {
        put(format!("{text:?}"), 5, text.as_bytes());
    }
}

fn values(lie: &mut impl FnMut(String, Vec<Piece>, &[Piece])) {
    for float in [
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::from_bits(0x7ff0_0000_0000_0001),
    ] {
        let bits = float.to_bits();
        lie(
            format!("a float {bits:#x}"),
            verdict(2),
            &[(PAYLOAD, bits.to_le_bytes().to_vec())],
        );
    }
    lie("a lifetime of 0".to_owned(), verdict(1), &[words(CAP, &[1, 0])]);
    // Two claims, the second the first's equal.
    let twice = [
        words(CLAIMS + 4, &[2]),
        words(CLAIM + 24, &[NAME, 4, 1, 0]),
        words(CLAIM + 40, &[1, 0]),
    ];
    lie("a claim twice".to_owned(), verdict(1), &twice);
}
