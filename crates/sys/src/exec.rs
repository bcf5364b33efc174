//! Becoming another program.

use crate::raw;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::ptr;
use doula_model::plan::Errno;

/// `execve(program, args, env)`—becomes another program, with every fd that is not close-on-exec. Returns
/// only to say why it could not.
///
/// <https://man7.org/linux/man-pages/man2/execve.2.html>
#[must_use]
pub fn execve(program: &CStr, args: &[&CStr], env: &[&CStr]) -> Errno {
    let args = pointers(args);
    let env = pointers(env);
    let list = [program.as_ptr() as usize, args.as_ptr() as usize, env.as_ptr() as usize, 0, 0, 0];
    // SAFETY: both lists end with a null pointer, and every other entry is a C string that outlives the call.
    match unsafe { raw::call(libc::SYS_execve, list) } {
        Ok(_) => Errno::EFAULT,
        Err(errno) => errno,
    }
}

/// The null-terminated list of pointers that execve takes.
fn pointers(strings: &[&CStr]) -> Vec<*const core::ffi::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fork::tests::apart::alone;

    #[test]
    fn we_become_another_program_with_its_arguments_and_environment() {
        let name = "exec::tests::we_become_another_program_with_its_arguments_and_environment";
        alone(
            name,
            |_| {},
            || {
                let script = c"test \"$0 $1 $A\" = 'name one 1' && test -z \"$HOME\"";
                let args = [c"sh", c"-c", script, c"name", c"one"];
                panic!("{}", execve(c"/bin/sh", &args, &[c"A=1"]));
            },
        );
    }

    #[test]
    fn a_missing_program_is_said_to_be_missing() {
        assert_eq!(execve(c"/nonexistent/program", &[c"program"], &[]), Errno::ENOENT);
    }
}
