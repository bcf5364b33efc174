//! The few colours, by what they mean.

/// What a piece of text means. The words say it too: colour never carries meaning alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    /// Nothing special.
    #[default]
    Plain,
    /// A heading.
    Head,
    /// A name.
    Name,
    /// All is well.
    Good,
    /// On its way, or wants attention.
    Busy,
    /// Ended badly.
    Bad,
    /// Of little interest.
    Dim,
}

impl Style {
    /// The text in this colour (ECMA-48 "select graphic rendition"), or as it is without `color`.
    pub(crate) fn paint(self, text: &str, color: bool) -> String {
        let code = match self {
            Style::Plain => return text.to_owned(),
            Style::Head => "1",
            Style::Name => "1;36",
            Style::Good => "32",
            Style::Busy => "33",
            Style::Bad => "1;31",
            Style::Dim => "2",
        };
        if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
