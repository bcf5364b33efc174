//! The tree as a picture (SVG 1.1), for documents: the same lines as in a terminal, without its width.
//!
//! Names are escaped twice: control characters as everywhere, and what means something in XML. Absent on purpose: scripts, and fonts of
//! its own.

use super::draw::Drawing;
use crate::ui::{Style, escape};
use unicode_width::UnicodeWidthStr as _;

/// Of a line, a level and a character of the usual monospaced font at 13 px; and the blank around all.
const LINE: usize = 20;
const LEVEL: usize = 22;
const CHARACTER: usize = 8;
const AROUND: usize = 12;

const HEAD: &str = "<style>text{font:13px monospace;fill:#222;white-space:pre}path{stroke:#999;fill:none}.name{fill:#067;font-weight:bold}\
                    .good{fill:#060}.busy{fill:#850}.bad{fill:#b00;font-weight:bold}.dim{fill:#777}</style>";

/// The picture, with a newline at its end.
pub(super) fn picture(drawing: &Drawing<'_>) -> String {
    let (mut body, mut widest) = (String::new(), 0);
    // For each level, in which line its last process stands.
    let mut last: Vec<usize> = Vec::new();
    let lines = drawing.lines();
    for (number, line) in lines.iter().enumerate() {
        let depth = line.follows.len() - 1;
        last.truncate(depth);
        if let Some(parent) = last.last() {
            body.push_str(&elbow(depth, *parent, number));
        }
        last.push(number);
        let words = drawing.line_words(line);
        let words: Vec<(String, Style)> =
            words.into_iter().map(|(text, style)| (escape(&text), style)).collect();
        let width: usize = words.iter().map(|(text, _)| text.width() + 1).sum();
        widest = widest.max(depth * LEVEL + width * CHARACTER);
        let (x, y) = (AROUND + depth * LEVEL, AROUND + number * LINE + LINE * 3 / 4);
        let words: Vec<String> = words.iter().map(|(text, style)| word(text, *style)).collect();
        body.push_str(&format!("<text x=\"{x}\" y=\"{y}\">{}</text>\n", words.join(" ")));
    }
    let (width, height) = (widest + 2 * AROUND, lines.len() * LINE + 2 * AROUND);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         {HEAD}\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

/// From below the parent to the begin of its child.
fn elbow(depth: usize, parent: usize, child: usize) -> String {
    let x = AROUND + (depth - 1) * LEVEL + CHARACTER;
    let (top, middle) = (AROUND + (parent + 1) * LINE, AROUND + child * LINE + LINE / 2);
    format!("<path d=\"M{x} {top}V{middle}H{}\"/>\n", AROUND + depth * LEVEL - 3)
}

fn word(text: &str, style: Style) -> String {
    let class = match style {
        Style::Plain => return xml(text),
        Style::Head | Style::Name => "name",
        Style::Good => "good",
        Style::Busy => "busy",
        Style::Bad => "bad",
        Style::Dim => "dim",
    };
    format!("<tspan class=\"{class}\">{}</tspan>", xml(text))
}

/// What means something in XML, as references.
fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // Unicode has them, XML has not.
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_text_in_the_picture_whatever_is_in_it() {
        let text = xml("</text><script>\"&\u{ffff}");
        assert_eq!(text, "&lt;/text&gt;&lt;script&gt;&quot;&amp;\u{fffd}");
        assert_eq!(word("<", Style::Dim), "<tspan class=\"dim\">&lt;</tspan>");
    }

    #[test]
    fn a_child_hangs_below_its_parent() {
        assert_eq!(elbow(1, 0, 2), "<path d=\"M20 32V62H31\"/>\n");
    }
}
