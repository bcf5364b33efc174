//! The command-line grammar that all faces share: getopt_long(3) with `+`, so that the first word that is no
//! option ends the options, and what follows belongs to the command.
//!
//! tini lets the C library sort options from behind the command to the front unless `POSIXLY_CORRECT` is
//! set; that eats options which belong to the command, and nobody can rely on it, so it is left out.

use alloc::vec::Vec;

/// An option that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<K> {
    /// What it means.
    pub(super) kind: K,
    /// `-x`.
    pub(super) short: Option<u8>,
    /// `--long`; empty: none.
    pub(super) long: &'static str,
    /// Whether a value follows.
    pub(super) value: bool,
}

/// Why the options cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Misuse<'a> {
    /// `-x` is unknown.
    Short(u8),
    /// `--long` is unknown, or the beginning of several.
    Long(&'a [u8]),
    /// The option (as it was written) needs a value.
    NoValue(&'a [u8]),
    /// `--long=value`, but the option takes none.
    Surplus(&'a [u8]),
}

/// What was read: the options in order, and the rest.
pub(super) type Read<'a, K> = (Vec<(K, &'a [u8])>, &'a [Vec<u8>]);

/// Reads options until the command begins. Options without a value come with an empty one.
pub(super) fn read<'a, K: Copy>(known: &[Known<K>], args: &'a [Vec<u8>]) -> Result<Read<'a, K>, Misuse<'a>> {
    let mut options = Vec::new();
    let mut rest = args;
    while let Some((word, after)) = rest.split_first() {
        if word == b"--" {
            return Ok((options, after));
        }
        if let Some(long) = word.strip_prefix(b"--") {
            rest = read_long(known, long, after, &mut options)?;
        } else if let Some(cluster) = word.strip_prefix(b"-").filter(|cluster| !cluster.is_empty()) {
            rest = read_cluster(known, cluster, after, &mut options)?;
        } else {
            break;
        }
    }
    Ok((options, rest))
}

fn read_long<'a, K: Copy>(
    known: &[Known<K>],
    word: &'a [u8],
    after: &'a [Vec<u8>],
    options: &mut Vec<(K, &'a [u8])>,
) -> Result<&'a [Vec<u8>], Misuse<'a>> {
    let mut halves = word.splitn(2, |byte| *byte == b'=');
    let name = halves.next().unwrap_or_default();
    let option = long_named(known, name).ok_or(Misuse::Long(word))?;
    match (option.value, halves.next()) {
        (false, None) => options.push((option.kind, b"")),
        (false, Some(_)) => return Err(Misuse::Surplus(name)),
        (true, Some(value)) => options.push((option.kind, value)),
        (true, None) => {
            let (value, after) = after.split_first().ok_or(Misuse::NoValue(name))?;
            options.push((option.kind, value));
            return Ok(after);
        }
    }
    Ok(after)
}

/// The exact name, or an unambiguous beginning of one.
fn long_named<K: Copy>(known: &[Known<K>], name: &[u8]) -> Option<Known<K>> {
    let named = || known.iter().filter(|option| !option.long.is_empty() && !name.is_empty());
    if let Some(exact) = named().find(|option| option.long.as_bytes() == name) {
        return Some(*exact);
    }
    let mut beginning = named().filter(|option| option.long.as_bytes().starts_with(name));
    let first = beginning.next()?;
    beginning.next().is_none().then_some(*first)
}

fn read_cluster<'a, K: Copy>(
    known: &[Known<K>],
    cluster: &'a [u8],
    after: &'a [Vec<u8>],
    options: &mut Vec<(K, &'a [u8])>,
) -> Result<&'a [Vec<u8>], Misuse<'a>> {
    for (index, letter) in cluster.iter().enumerate() {
        let option =
            known.iter().find(|option| option.short == Some(*letter)).ok_or(Misuse::Short(*letter))?;
        let attached = cluster.get(index + 1..).unwrap_or_default();
        match (option.value, attached) {
            (false, _) => options.push((option.kind, b"")),
            (true, []) => {
                let letter = cluster.get(index..).unwrap_or_default();
                let (value, after) = after.split_first().ok_or(Misuse::NoValue(letter))?;
                options.push((option.kind, value));
                return Ok(after);
            }
            (true, value) => {
                options.push((option.kind, value));
                return Ok(after);
            }
        }
    }
    Ok(after)
}
