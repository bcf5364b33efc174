//! The six of exec(3), each beside its original in C.

use crate::actors::actor;
use doula_host::{Command, Errno, Step};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process;

/// Executes the program in its second argument by the member of the family in its first.
const ORIGINAL: &str = r#"
#include <string.h>
#include <unistd.h>

int main(int count, char **args) {
    char *name = args[1], *program = args[2];
    char *list[] = {"called so", "-l", "two words", NULL};
    char *variables[] = {"ONE=1", "TWO=two words", "EMPTY=", NULL};
    if (!strcmp(name, "execl")) execl(program, "called so", "-l", "two words", NULL);
    if (!strcmp(name, "execlp")) execlp(program, "called so", "-l", "two words", NULL);
    if (!strcmp(name, "execle")) execle(program, "called so", "-l", "two words", NULL, variables);
    if (!strcmp(name, "execv")) execv(program, list);
    if (!strcmp(name, "execvp")) execvp(program, list);
    if (!strcmp(name, "execve")) execve(program, list, variables);
    return 99;
}
"#;

const ARGV: [&str; 3] = ["called so", "-l", "two words"];
const VARIABLES: [(&str, &str); 3] = [("ONE", "1"), ("TWO", "two words"), ("EMPTY", "")];

/// A folder that is removed at the end, with the compiled original in it.
struct Original {
    folder: PathBuf,
}

impl Original {
    /// `None`, said aloud, without a C compiler.
    fn compile(test: &str) -> Option<Original> {
        let folder = std::env::temp_dir().join(format!("doula-exec-{test}-{}", process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let original = Original { folder };
        std::fs::write(original.folder.join("family.c"), ORIGINAL).expect("a file");
        let compiled = process::Command::new("cc")
            .args(["-w", "-o", "family", "family.c"])
            .current_dir(&original.folder)
            .status();
        match compiled {
            Ok(status) if status.success() => Some(original),
            _ => {
                println!("skipped: no C compiler");
                None
            }
        }
    }

    /// What the program tells that this member of the family executes.
    fn tells(&self, member: &str, program: &Path) -> String {
        let output = process::Command::new(self.folder.join("family"))
            .arg(member)
            .arg(program)
            .env("PATH", path())
            .output()
            .expect("the original");
        assert_eq!(output.status.code(), Some(0), "{member}");
        born_with(&String::from_utf8_lossy(&output.stdout))
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).expect("our own folder");
    }
}

fn dump() -> PathBuf {
    actor("env_dump")
}

/// A search path that leads to the actors.
fn path() -> String {
    format!("/nonexistent:{}:/usr/bin:/bin", dump().parent().expect("a folder").display())
}

/// The lines that exec is to hand over: arguments in their order, environment (whose order means nothing), directory.
fn born_with(text: &str) -> String {
    let handed = |line: &&str| ["arg.", "env.", "cwd "].iter().any(|start| line.starts_with(start));
    let mut lines: Vec<&str> = text.lines().filter(handed).collect();
    lines.sort_unstable();
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}

fn ours(command: &mut Command) -> String {
    let output = command.env("PATH", path()).output().expect("a birth");
    assert!(output.status.success());
    born_with(&output.stdout_text())
}

/// With an environment of its own, in which a `PATH` would be one variable too many.
fn ours_without_path(command: &mut Command) -> String {
    born_with(&command.output().expect("a birth").stdout_text())
}

#[test]
fn execl_is_an_exact_path_with_listed_arguments() {
    let Some(original) = Original::compile("execl") else { return };
    let ours = ours(Command::exact(dump()).arg0("called so").arg("-l").arg("two words"));
    assert_eq!(ours, original.tells("execl", &dump()));
}

#[test]
fn execlp_is_a_search_in_path_with_listed_arguments() {
    let Some(original) = Original::compile("execlp") else { return };
    let ours = ours(Command::new("env_dump").arg0("called so").arg("-l").arg("two words"));
    assert_eq!(ours, original.tells("execlp", Path::new("env_dump")));
}

#[test]
fn execle_is_an_exact_path_with_listed_arguments_and_an_environment() {
    let Some(original) = Original::compile("execle") else { return };
    let mut command = Command::exact(dump());
    command.arg0("called so").arg("-l").arg("two words").env_clear().envs(VARIABLES);
    assert_eq!(ours_without_path(&mut command), original.tells("execle", &dump()));
}

#[test]
fn execv_is_an_exact_path_with_a_vector() {
    let Some(original) = Original::compile("execv") else { return };
    assert_eq!(ours(Command::exact(dump()).argv(ARGV)), original.tells("execv", &dump()));
}

#[test]
fn execvp_is_a_search_in_path_with_a_vector() {
    let Some(original) = Original::compile("execvp") else { return };
    let ours = ours(Command::new("env_dump").argv(ARGV));
    assert_eq!(ours, original.tells("execvp", Path::new("env_dump")));
}

#[test]
fn execve_is_an_exact_path_with_a_vector_and_an_environment() {
    let Some(original) = Original::compile("execve") else { return };
    let mut command = Command::exact(dump());
    command.argv(ARGV).env_clear().envs(VARIABLES);
    assert_eq!(ours_without_path(&mut command), original.tells("execve", &dump()));
}

#[test]
fn a_script_without_its_first_line_is_an_error_where_c_hands_it_to_a_shell() {
    let Some(original) = Original::compile("enoexec") else { return };
    let script = original.folder.join("script");
    std::fs::write(&script, "echo \"arg.0 from a shell\"\n").expect("a file");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    assert_eq!(original.tells("execvp", &script), "arg.0 from a shell\n");
    let error = Command::new(&script).output().expect_err("no program");
    assert!(error.to_string().contains("does it lack its first line `#!/bin/sh`?"), "{error}");
    let error = Command::exact(&script).spawn().expect_err("no program");
    assert_eq!((error.step(), error.errno()), (Step::Exec, Errno::ENOEXEC));
}

#[test]
fn only_the_listed_fds_are_inherited_where_exec_hands_over_all() {
    let (reader, writer) = doula_sys::fd::pipe().expect("a pipe");
    doula_sys::fd::set_cloexec(&writer, false).expect("fcntl");
    let fds = |command: &mut Command| {
        let text = command.output().expect("a birth").stdout_text();
        text.lines().filter(|line| line.starts_with("fd.") && line.contains("pipe:")).count()
    };
    // Its own standard output and error.
    assert_eq!(fds(&mut Command::exact(dump())), 2);
    let link = std::fs::read_link(format!("/proc/self/fd/{}", doula_sys::fd::AsRawFd::as_raw_fd(&writer)));
    let link = link.expect("an open fd").display().to_string();
    let kept = Command::exact(dump()).keep_fds().output().expect("a birth").stdout_text();
    assert!(kept.lines().any(|line| line.starts_with("fd.") && line.ends_with(&link)), "{kept}");
    drop(reader);
}

#[test]
fn a_relative_program_is_seen_from_the_childs_directory_and_searched_in_the_childs_path() {
    let folder = std::env::temp_dir().join(format!("doula-relative-{}", process::id()));
    std::fs::create_dir_all(folder.join("bin")).expect("a folder");
    let script = folder.join("bin/which-one");
    std::fs::write(&script, "#!/bin/sh\necho the one in $(basename $PWD)\n").expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("our own file");
    for (program, dir, path) in [
        ("./which-one", "bin", "/usr/bin:/bin"),
        ("bin/which-one", "", "/usr/bin:/bin"),
        ("which-one", "", "bin:/usr/bin:/bin"),
        ("which-one", "bin", ":/usr/bin:/bin"),
    ] {
        let output = Command::new(program).dir(folder.join(dir)).env("PATH", path).output().expect("a birth");
        let place = folder.join(dir).components().next_back().expect("a name").as_os_str().to_owned();
        assert_eq!(output.stdout_text(), format!("the one in {}\n", place.to_string_lossy()), "{program}");
    }
    let error = Command::new("./which-one").spawn().expect_err("it is not where we are");
    assert_eq!(error.errno(), Errno::ENOENT);
    std::fs::remove_dir_all(&folder).expect("our own folder");
}
