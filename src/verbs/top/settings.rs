//! The configuration file of `top`, and how its colours look.
//!
//! `$XDG_CONFIG_HOME/doula/top.toml` (`~/.config` when that is not set). Options of the command line win.

use super::rows::View;
use super::state::conditions;
use crate::config::{Complaint, Problems, Report, Source, did_you_mean};
use crate::processes::{Column, unknown_column};
use crate::ui::Style as Meaning;
use ratatui_core::style::{Color, Modifier, Style};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is shown unless told otherwise.
const COLUMNS: &str = "pid,user,state,cpu,rss,time,args";
/// The keys of the file.
const KEYS: [&str; 8] = ["columns", "filter", "interval", "kernel", "sort", "sums", "theme", "tree"];
/// More often than this a person sees no more.
const FASTEST: Duration = Duration::from_millis(100);

/// Styles by what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Theme {
    pub(super) plain: Style,
    pub(super) dim: Style,
    pub(super) head: Style,
    pub(super) heading: Style,
    pub(super) name: Style,
    pub(super) good: Style,
    pub(super) busy: Style,
    pub(super) bad: Style,
    pub(super) chosen: Style,
}

impl Theme {
    /// The themes by name.
    pub(super) const NAMES: [&str; 3] = ["dark", "light", "plain"];

    /// How text is shown that means this.
    pub(super) const fn of(&self, meaning: Meaning) -> Style {
        match meaning {
            Meaning::Plain => self.plain,
            Meaning::Head => self.head,
            Meaning::Name => self.name,
            Meaning::Good => self.good,
            Meaning::Busy => self.busy,
            Meaning::Bad => self.bad,
            Meaning::Dim => self.dim,
        }
    }

    /// The theme of this name; `plain` has no colour.
    pub(super) fn named(name: &str) -> Option<Theme> {
        const BOLD: Modifier = Modifier::BOLD;
        let plain = Style::new();
        let bare = Theme {
            plain,
            dim: plain,
            head: plain.add_modifier(BOLD),
            heading: plain.add_modifier(Modifier::REVERSED),
            name: plain.add_modifier(BOLD),
            good: plain,
            busy: plain.add_modifier(Modifier::UNDERLINED),
            bad: plain.add_modifier(BOLD),
            chosen: plain.add_modifier(Modifier::REVERSED),
        };
        let coloured = |name: Color, busy: Color| Theme {
            dim: plain.add_modifier(Modifier::DIM),
            name: plain.fg(name),
            good: plain.fg(Color::Green),
            busy: plain.fg(busy),
            bad: plain.fg(Color::Red).add_modifier(BOLD),
            ..bare
        };
        match name {
            "plain" => Some(bare),
            "dark" => Some(coloured(Color::Cyan, Color::Yellow)),
            "light" => Some(coloured(Color::Blue, Color::Magenta)),
            _ => None,
        }
    }
}

/// What can be set.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) view: View,
    pub(super) filter: String,
    pub(super) interval: Duration,
    pub(super) theme: String,
}

impl Default for Settings {
    fn default() -> Settings {
        let columns = COLUMNS.split(',').filter_map(Column::find).collect::<Vec<_>>();
        let view = View {
            sort: columns[3],
            columns,
            falling: true,
            tree: false,
            sums: false,
            kernel: false,
            conditions: Vec::new(),
            folded: BTreeSet::new(),
        };
        Settings { view, filter: String::new(), interval: Duration::from_secs(1), theme: "dark".to_owned() }
    }
}

impl Settings {
    /// Those of the file, if there is one.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub(super) fn load() -> Result<Settings, Problems> {
        let Some(path) = path() else { return Ok(Settings::default()) };
        match std::fs::read_to_string(&path) {
            Ok(text) => Settings::parse(Source { name: path.display().to_string(), text }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
            Err(error) => {
                Err(Problems::unreadable(format!("failed to read `{}`: {error}", path.display()), None))
            }
        }
    }

    pub(super) fn parse(source: Source) -> Result<Settings, Problems> {
        let report = Report::new(source);
        let mut settings = Settings::default();
        let (file, errors) = DeTable::parse_recoverable(report.text());
        for error in &errors {
            report.note(&error.span().unwrap_or(0..0), Complaint::new(error.message(), "here"));
        }
        if errors.is_empty() {
            for (key, value) in file.get_ref() {
                if !KEYS.contains(&key.get_ref().as_ref()) {
                    let complaint =
                        Complaint::new(format!("there is no key `{}`", key.get_ref()), "unknown key");
                    let help = did_you_mean(key.get_ref(), KEYS.into_iter());
                    let all = || format!("known are {}", KEYS.join(", "));
                    report.note(&key.span(), complaint.help(help.unwrap_or_else(all)));
                } else if let Err(error) = settings.set(key.get_ref(), value) {
                    report.note(&value.span(), Complaint::new(error, "not this"));
                }
            }
        }
        drop(file);
        report.finish(settings)
    }

    fn set(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<(), String> {
        let text = || value.get_ref().as_str().ok_or_else(|| format!("`{key}` is a text: put it in quotes"));
        let truth = || value.get_ref().as_bool().ok_or_else(|| format!("`{key}` is true or false"));
        match key {
            "columns" => self.columns(text()?),
            "sort" => self.sort(text()?),
            "filter" => self.filter(text()?),
            "interval" => crate::config::duration(text()?).and_then(|interval| self.interval(interval)),
            "theme" => self.theme(text()?),
            "kernel" => truth().map(|on| self.view.kernel = on),
            "sums" => truth().map(|on| self.view.sums = on),
            _ => truth().map(|on| self.view.tree = on),
        }
    }

    /// Columns by name, with commas.
    pub(super) fn columns(&mut self, list: &str) -> Result<(), String> {
        let find = |name: &str| Column::find(name.trim()).ok_or_else(|| unknown_column(name.trim()));
        self.view.columns = list.split(',').map(find).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The column to sort by; `-` before it: the largest first.
    pub(super) fn sort(&mut self, name: &str) -> Result<(), String> {
        let bare = name.trim_start_matches(['-', '+']);
        self.view.sort = Column::find(bare).ok_or_else(|| unknown_column(bare))?;
        self.view.falling = name.starts_with('-');
        Ok(())
    }

    /// Conditions with blanks between.
    pub(super) fn filter(&mut self, text: &str) -> Result<(), String> {
        self.view.conditions = conditions(text)?;
        self.filter = text.to_owned();
        Ok(())
    }

    /// How often is looked.
    pub(super) fn interval(&mut self, interval: Duration) -> Result<(), String> {
        if interval < FASTEST {
            return Err("the interval is shorter than 100ms".to_owned());
        }
        self.interval = interval;
        Ok(())
    }

    /// A theme by name.
    pub(super) fn theme(&mut self, name: &str) -> Result<(), String> {
        Theme::named(name)
            .ok_or_else(|| format!("there is no theme `{name}`: {}", Theme::NAMES.join(", ")))?;
        self.theme = name.to_owned();
        Ok(())
    }
}

fn path() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(home.join("doula/top.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        let source = Source { name: "top.toml".to_owned(), text: text.to_owned() };
        Settings::parse(source).map_err(|problems| problems.render(false))
    }

    #[test]
    fn a_file_sets_what_it_names() {
        let text = "theme = \"light\"\ncolumns = \"pid,name\"\nsort = \"-rss\"\ntree = true\n\
                    interval = \"2s\"\nfilter = \"state=D\"\nkernel = true\nsums = true\n";
        let settings = parse(text).expect("a good file");
        assert_eq!((settings.theme.as_str(), settings.view.columns.len()), ("light", 2));
        assert_eq!((settings.view.sort.name, settings.view.falling), ("rss", true));
        assert!(settings.view.tree && settings.view.kernel && settings.view.sums);
        assert_eq!((settings.interval, settings.view.conditions.len()), (Duration::from_secs(2), 1));
    }

    #[test]
    fn every_mistake_is_shown_at_its_place_with_its_cure() {
        let text =
            "them = \"dark\"\ncolumns = \"pid,nam\"\ntree = 1\ninterval = \"1ms\"\nfilter = \"rss>much\"\n";
        let told = parse(text).expect_err("mistakes");
        for part in [
            "did you mean `theme`?",
            "did you mean `name`?",
            "`tree` is true or false",
            "shorter than 100ms",
            "`much` is no number",
            "top.toml:3:8",
            "^",
        ] {
            assert!(told.contains(part), "{part} is not in {told}");
        }
        assert!(parse("tree = ").expect_err("no value").contains("top.toml:1"));
    }

    #[test]
    fn the_plain_theme_has_no_colour() {
        let theme = Theme::named("plain").expect("a theme");
        let styles = [theme.plain, theme.dim, theme.head, theme.heading, theme.name, theme.good, theme.busy];
        let all = styles.into_iter().chain([theme.bad, theme.chosen]);
        assert!(all.into_iter().all(|style| style.fg.is_none() && style.bg.is_none()));
        assert!(Theme::NAMES.iter().all(|name| Theme::named(name).is_some()));
    }
}
