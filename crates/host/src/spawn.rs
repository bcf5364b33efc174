//! From a recipe to a [`ChildPlan`], and from a failed birth to a sentence that people understand.
//!
//! What a plan needs beside the recipe (fds, session, cgroup, ignored signals) is filled in by whoever gives
//! birth.

use doula_model::plan::{ChildPlan, Errno, Resource, SpawnError, Step};
use doula_model::recipe::Recipe;
use std::ffi::{CString, OsStr};
use std::fmt;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Where programs are searched when the child's environment has no `PATH`.
///
/// ```
/// use doula_host::spawn::{DEFAULT_PATH, candidates};
/// let files = candidates(b"sh", DEFAULT_PATH.as_bytes());
/// assert!(files.contains(&b"/bin/sh".to_vec()));
/// ```
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The plan for one command of a recipe, with these variables beside (and above) those of the recipe.
///
/// ```
/// use doula_model::recipe::Recipe;
/// let recipe = Recipe { command: vec!["/bin/sleep".into(), "1".into()], nice: Some(5), ..Recipe::default() };
/// let plan = doula_host::spawn::plan(&recipe, &recipe.command, &[("SLOT".into(), "1".into())]);
/// assert_eq!(plan.programs, [b"/bin/sleep"]);
/// assert!(plan.env.contains(&b"SLOT=1".to_vec()) && plan.nice == Some(5));
/// ```
#[must_use]
pub fn plan(recipe: &Recipe, command: &[String], more_env: &[(String, String)]) -> ChildPlan {
    let env = environment(recipe.env.own(), more_env);
    let shared_env = recipe.env.joined_base();
    let programs = match command.first() {
        Some(program) => candidates(program.as_bytes(), path_of(&env, &shared_env)),
        None => Vec::new(),
    };
    ChildPlan {
        programs,
        shared_env,
        args: command.iter().map(|arg| arg.clone().into_bytes()).collect(),
        env,
        dir: recipe.dir.as_ref().map(|dir| dir.clone().into_bytes()),
        umask: recipe.umask,
        credentials: recipe.credentials.clone(),
        capabilities: recipe.capabilities,
        no_new_privs: recipe.no_new_privs,
        rlimits: recipe.rlimits.clone(),
        affinity: recipe.affinity.clone(),
        nice: recipe.nice,
        oom_score_adj: recipe.oom_score_adj,
        ..ChildPlan::default()
    }
}

/// `NAME=value` of both, of which each names a variable once; `more` hides what has the same name.
fn environment(own: &[(String, String)], more: &[(String, String)]) -> Vec<Vec<u8>> {
    let hidden = |name: &String| more.iter().any(|(other, _)| other == name);
    let own = own.iter().filter(|(name, _)| !hidden(name));
    own.chain(more).map(|(name, value)| [name, "=", value].concat().into_bytes()).collect()
}

/// The value of `PATH` in an environment, [`DEFAULT_PATH`] if it has none.
pub(crate) fn path_of<'a>(env: &'a [Vec<u8>], shared: &'a [CString]) -> &'a [u8] {
    let mut entries = env.iter().map(Vec::as_slice).chain(shared.iter().map(|entry| entry.to_bytes()));
    entries.find_map(|entry| entry.strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH.as_bytes())
}

/// The files to try for a program: itself if there is a slash in its name (relative to the child's
/// directory), else one in each directory of `path`. An empty entry of `path` is the child's directory.
///
/// ```
/// let files = doula_host::spawn::candidates(b"cat", b"/usr/bin:");
/// assert_eq!(files, [b"/usr/bin/cat".to_vec(), b"./cat".to_vec()]);
/// ```
#[must_use]
pub fn candidates(program: &[u8], path: &[u8]) -> Vec<Vec<u8>> {
    if program.is_empty() {
        return Vec::new();
    }
    if program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    let within = |dir: &[u8]| match dir {
        b"" => [b"./", program].concat(),
        dir => [dir, b"/", program].concat(),
    };
    path.split(|&byte| byte == b':').map(within).collect()
}

/// A failed birth for people.
///
/// ```
/// use doula_host::spawn::Explained;
/// let hint = Some("is it installed?".to_owned());
/// let explained = Explained { what: "`nginxx` was not found".to_owned(), hint };
/// assert_eq!(explained.to_string(), "`nginxx` was not found (hint: is it installed?)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What happened, as a sentence without a full stop.
    pub what: String,
    /// What can be done about it, if we know.
    pub hint: Option<String>,
}

impl fmt::Display for Explained {
    /// `` `nginxx` was not found in PATH=/usr/bin (hint: …) ``.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hint {
            Some(hint) => write!(f, "{} (hint: {hint})", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Says why no child was born of this plan. Looks at the program's file for the reason, so that it is meant
/// for the moment after the failure.
///
/// ```
/// use doula_host::spawn::{explain, plan};
/// use doula_model::plan::{Errno, SpawnError, Step};
/// use doula_model::recipe::Recipe;
/// let plan = plan(&Recipe::default(), &["/no/such".to_owned()], &[]);
/// let explained = explain(&plan, SpawnError { step: Step::Exec, errno: Errno::ENOENT });
/// assert!(explained.what.contains("`/no/such`"), "{explained}");
/// ```
#[must_use]
pub fn explain(plan: &ChildPlan, error: SpawnError) -> Explained {
    let (what, hint) = match error.step {
        Step::Exec if plan.programs.iter().all(Vec::is_empty) => {
            ("there is no program to run".to_owned(), None)
        }
        Step::Exec => return explain_exec(plan, error.errno),
        Step::Prepare if plan.programs.is_empty() => ("there is no program to run".to_owned(), None),
        Step::Directory => (directory_problem(plan, error.errno), None),
        Step::Prepare
        | Step::Clone
        | Step::ParentDeathSignal
        | Step::Cgroup
        | Step::Session
        | Step::Group
        | Step::Terminal
        | Step::Rlimit(_)
        | Step::Affinity
        | Step::Nice
        | Step::OomScore
        | Step::Fds
        | Step::CloseRest
        | Step::Groups
        | Step::User
        | Step::Capabilities
        | Step::NoNewPrivs
        | Step::Signals => {
            (format!("`{}` could not be started: {error}", name_of(plan)), hint_for(error).map(str::to_owned))
        }
    };
    Explained { what, hint }
}

/// Says why the file of a standard input could not be opened.
///
/// ```
/// use doula_model::plan::Errno;
/// let explained = doula_host::spawn::explain_input("/no/such", Errno::ENOENT);
/// assert!(explained.what.starts_with("its standard input `/no/such` cannot be opened"));
/// ```
#[must_use]
pub fn explain_input(path: &str, errno: Errno) -> Explained {
    let why = errno.what().map_or_else(|| errno.to_string(), str::to_owned);
    let what = format!("its standard input `{}` cannot be opened: {why}", printable(path.as_bytes()));
    Explained { what, hint: None }
}

/// The program as the user wrote it.
fn name_of(plan: &ChildPlan) -> String {
    printable(plan.args.first().map_or(b"", Vec::as_slice))
}

/// No control byte of a name ever reaches a terminal.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let lossy = String::from_utf8_lossy(bytes);
    lossy.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

fn directory_problem(plan: &ChildPlan, errno: Errno) -> String {
    let dir = printable(plan.dir.as_deref().unwrap_or(b""));
    let errno = errno.what().map_or_else(|| errno.to_string(), str::to_owned);
    format!("the working directory `{dir}` of `{}` cannot be entered: {errno}", name_of(plan))
}

fn hint_for(error: SpawnError) -> Option<&'static str> {
    Some(match (error.step, error.errno) {
        (Step::Prepare, Errno::EINVAL) => {
            "an argument or a variable has a NUL byte in it, or a CPU does not exist"
        }
        (Step::Clone, Errno::EAGAIN) => {
            "a limit of processes was reached: `pids.max` of the cgroup, `ulimit -u`, or kernel.pid_max"
        }
        (Step::Prepare | Step::Clone | Step::Cgroup, Errno::EMFILE) => {
            "our own limit of open files was reached: raise `ulimit -n`"
        }
        (Step::Clone, Errno::EPERM | Errno::ENOSYS) => "a sandbox (seccomp) forbids it",
        (Step::Groups | Step::User, Errno::EPERM) => "only root can run a service as another user",
        (Step::User, Errno::EAGAIN) => "this user has reached its limit of processes (`ulimit -u`)",
        (Step::Rlimit(Resource::Nofile), Errno::EPERM) => {
            "without root a hard limit can only be lowered, and nobody gets more than fs.nr_open"
        }
        (Step::Rlimit(_), Errno::EPERM) => "without root a hard limit can only be lowered",
        (Step::Rlimit(_), Errno::EINVAL) => "the soft limit may not be above the hard one",
        (Step::Nice | Step::OomScore, Errno::EACCES | Errno::EPERM) => {
            "without root this value can only be raised"
        }
        (Step::Affinity, Errno::EINVAL) => "none of these CPUs is there for us",
        (Step::Capabilities, Errno::EPERM) => {
            "a capability can only be passed on by who holds it, and taken away for ever by root"
        }
        (Step::Terminal, Errno::EPERM) => "the terminal belongs to another session",
        (Step::Fds, Errno::EMFILE) => "the number is above the limit of open files (`nofile`)",
        (Step::Fds, Errno::EBADF) => {
            "an fd is not open here, or its number is above the limit of open files (`nofile`)"
        }
        _ => return None,
    })
}

fn explain_exec(plan: &ChildPlan, errno: Errno) -> Explained {
    let name = name_of(plan);
    let searched = plan.args.first().is_some_and(|program| !program.contains(&b'/'));
    let file = existing(plan);
    let (what, hint) = match (errno, &file) {
        (Errno::ENOENT | Errno::ENOTDIR, Some(file)) => missing_interpreter(&name, file),
        (Errno::ENOENT | Errno::ENOTDIR, None) if searched => {
            let path = printable(path_of(&plan.env, &plan.shared_env));
            (
                format!("`{name}` was not found in PATH={path}"),
                "write its whole path, or set PATH for it".to_owned(),
            )
        }
        (Errno::ENOENT | Errno::ENOTDIR, None) => {
            let from = plan.dir.as_ref().filter(|_| !name.starts_with('/'));
            let from = from.map(|dir| format!(" (seen from `{}`)", printable(dir))).unwrap_or_default();
            (format!("`{name}` does not exist{from}"), String::new())
        }
        (Errno::EACCES, Some(file)) => not_allowed(&name, file),
        (Errno::EACCES, None) if searched => {
            let path = printable(path_of(&plan.env, &plan.shared_env));
            let hint = "its user may not look into every directory of PATH";
            (format!("`{name}` was not found in PATH={path}"), hint.to_owned())
        }
        (Errno::EACCES, None) => may_not(&name),
        (Errno::ENOEXEC, _) => {
            let hint = "is it made for another machine, or does it lack its first line `#!/bin/sh`?";
            (format!("`{name}` is not a program"), hint.to_owned())
        }
        (Errno::ETXTBSY, _) => {
            (format!("`{name}` is open for writing"), "somebody is still copying it".to_owned())
        }
        (Errno::E2BIG, _) => {
            (format!("the arguments and the environment of `{name}` are too long"), String::new())
        }
        (Errno::EAGAIN, _) => (
            format!("`{name}` could not be executed"),
            "its user has reached its limit of processes".to_owned(),
        ),
        _ => (format!("`{name}` could not be executed: {errno}"), String::new()),
    };
    Explained { what, hint: (!hint.is_empty()).then_some(hint) }
}

/// The first candidate that is there, as we see it.
pub(crate) fn existing(plan: &ChildPlan) -> Option<PathBuf> {
    let dir = plan.dir.as_deref().unwrap_or(b".");
    let seen =
        plan.programs.iter().map(|file| Path::new(OsStr::from_bytes(dir)).join(OsStr::from_bytes(file)));
    seen.into_iter().find(|file| file.symlink_metadata().is_ok())
}

fn missing_interpreter(name: &str, file: &Path) -> (String, String) {
    if file.metadata().is_err() {
        return (format!("`{name}` is a symbolic link to nowhere"), String::new());
    }
    match first_line(file) {
        Some(interpreter) => {
            let hint = "look at the first line of the file; a carriage return at its end is also wrong";
            (format!("`{name}` needs `{interpreter}`, which does not exist"), hint.to_owned())
        }
        None => {
            let hint = "it was made for another C library or another machine; `file` tells";
            (format!("`{name}` is there, but the loader that it needs is not"), hint.to_owned())
        }
    }
}

/// What stands behind `#!`.
fn first_line(file: &Path) -> Option<String> {
    /// As much of a script as the kernel looks at.
    const LOOK: u64 = 256;
    let mut start = Vec::new();
    std::fs::File::open(file).ok()?.take(LOOK).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let text = line.trim_ascii_start();
    Some(printable(text.split(|byte| matches!(byte, b' ' | b'\t')).next()?))
}

fn not_allowed(name: &str, file: &Path) -> (String, String) {
    let shown = file.display();
    match file.metadata() {
        Ok(meta) if meta.is_dir() => (format!("`{name}` is a directory"), String::new()),
        Ok(meta) if meta.permissions().mode() & 0o111 == 0 => {
            (format!("`{name}` is not executable"), format!("chmod +x {shown}"))
        }
        _ => may_not(name),
    }
}

fn may_not(name: &str) -> (String, String) {
    let hint = "its user may not read a directory on the way, or the file system is mounted noexec";
    (format!("`{name}` may not be executed: permission denied"), hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::env::Environment;

    fn recipe(dir: Option<&str>) -> Recipe {
        let mut env = Environment::default();
        env.set("PATH", "/nonexistent:/usr/bin:/bin");
        Recipe { env, dir: dir.map(str::to_owned), ..Recipe::default() }
    }

    fn command(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// What people read when this command cannot be started.
    fn complaint(recipe: &Recipe, words: &[&str]) -> String {
        let plan = plan(recipe, &command(words), &[]);
        let error = doula_sys::fork::spawn(&plan).expect_err("must not start");
        explain(&plan, error).to_string()
    }

    #[test]
    fn a_program_is_searched_in_the_path_of_its_own_environment() {
        for (program, path, expected) in [
            ("a", "/x:/y", &["/x/a", "/y/a"][..]),
            ("a", "", &["./a"]),
            ("a", "/x::", &["/x/a", "./a", "./a"]),
            ("./a", "/x", &["./a"]),
            ("/b/a", "/x", &["/b/a"]),
            ("", "/x", &[]),
        ] {
            assert_eq!(
                candidates(program.as_bytes(), path.as_bytes()),
                expected.iter().map(|s| s.as_bytes()).collect::<Vec<_>>()
            );
        }
        let plan = plan(&Recipe::default(), &command(&["true"]), &[]);
        assert_eq!(plan.programs.len(), DEFAULT_PATH.split(':').count());
    }

    #[test]
    fn later_variables_win() {
        let mut recipe = recipe(None);
        recipe.env.set("A", "1");
        let plan = plan(&recipe, &command(&["x"]), &[("A".into(), "2".into()), ("B".into(), "3".into())]);
        assert_eq!(plan.env[1..], [b"A=2".to_vec(), b"B=3".to_vec()]);
    }

    #[test]
    fn every_failure_to_execute_is_told_in_words() {
        let dir = std::env::temp_dir().join(format!("doula-spawn-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("mkdir");
        let write = |name: &str, text: &str, mode: u32| {
            let file = dir.join(name);
            std::fs::write(&file, text).expect("write");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("chmod");
        };
        write("plain", "x", 0o644);
        write("script", "#! /no/such/sh -e\n", 0o755);
        write("junk", "\x01\x02", 0o755);
        let inside = recipe(dir.to_str());
        for (words, expected) in [
            (&["nginxx"][..], "`nginxx` was not found in PATH=/nonexistent:/usr/bin:/bin"),
            (&["ev\x1bil"], "`ev\\u{1b}il` was not found in PATH="),
            (&["./gone"], "`./gone` does not exist (seen from `"),
            (&["/no/such"], "`/no/such` does not exist"),
            (&["./plain"], "`./plain` is not executable (hint: chmod +x /"),
            (&["./script"], "`./script` needs `/no/such/sh`, which does not exist"),
            (&["./junk"], "`./junk` is not a program"),
            (&["/usr/bin/"], "`/usr/bin/` is a directory"),
            (&[], "there is no program to run"),
        ] {
            let text = complaint(&inside, words);
            assert!(text.starts_with(expected), "{text}");
        }
        std::fs::remove_dir_all(&dir).expect("rm");
        let text = complaint(&recipe(Some("/no/such/dir")), &["true"]);
        assert!(text.contains("`/no/such/dir` of `true` cannot be entered: no such file"), "{text}");
    }
}
