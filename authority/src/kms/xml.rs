//! Just enough XML to write: elements with text or elements in them.

use std::borrow::Cow;
use std::fmt::Write;

/// An element. Names are ours, texts anybody's.
pub(super) struct Element {
    name: Cow<'static, str>,
    content: Content,
}

enum Content {
    Text(String),
    Elements(Vec<Element>),
}

impl Element {
    /// With text in it.
    pub(super) fn text(name: &'static str, text: &str) -> Self {
        Self {
            name: name.into(),
            content: Content::Text(text.to_owned()),
        }
    }

    /// With elements in it.
    pub(super) fn parent(name: impl Into<Cow<'static, str>>, elements: Vec<Self>) -> Self {
        Self {
            name: name.into(),
            content: Content::Elements(elements),
        }
    }

    /// The document that it is the root of.
    pub(super) fn document(&self, namespace: &str) -> String {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        self.write(&mut out, &format!(" xmlns=\"{namespace}\""));
        out
    }

    fn write(&self, out: &mut String, attributes: &str) {
        let name = &self.name;
        // Writing into a text cannot fail.
        let _ = write!(out, "<{name}{attributes}>");
        match &self.content {
            Content::Text(text) => text.chars().for_each(|c| escape(c, out)),
            Content::Elements(elements) => elements.iter().for_each(|element| element.write(out, "")),
        }
        let _ = write!(out, "</{name}>");
    }
}

/// A character as it may stand in text. Those that XML 1.0 cannot have at all (section 2.2) become U+FFFD.
fn escape(c: char, out: &mut String) {
    match c {
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '&' => out.push_str("&amp;"),
        '"' => out.push_str("&quot;"),
        '\r' => out.push_str("&#13;"),
        '\t' | '\n' => out.push(c),
        '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
        c if c.is_ascii_control() => out.push('\u{fffd}'),
        c => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let root = Element::parent("R", vec![Element::text("T", "</T><x>&\"'\r\n\0é")]);
        assert_eq!(
            root.document("urn:x"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R xmlns=\"urn:x\"><T>&lt;/T&gt;&lt;x&gt;&amp;&quot;'&#13;\n\u{fffd}é</T></R>"
        );
    }
}
