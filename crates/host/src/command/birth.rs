//! From a command to a child.

use super::error::Trouble;
use super::stdio::Wiring;
use super::{Command, CommandError, Contained, Stdio, barrier};
use crate::child::{Capture, CaptureError, Child, Output, Tree, left};
use crate::reaper::owners;
use crate::spawn;
use doula_model::exit::ExitStatus;
use doula_model::plan::{ChildPlan, Step};
use std::os::unix::ffi::OsStrExt as _;

pub(super) fn spawn(command: &Command) -> Result<Child, CommandError> {
    left::bury();
    let trouble = |trouble: Trouble| trouble.of(&command.name());
    let wiring = Wiring::lay(&command.fds).map_err(trouble)?;
    let mut plan = plan(command)?;
    plan.fds.clone_from(&wiring.mappings);
    // The directory must be open until the child is born in it.
    let (tree, _directory) = match &command.contained {
        Contained::No => (Tree::Open, None),
        Contained::Alone => Tree::around(&mut plan),
        Contained::InRow(row) => (Tree::in_row(row, &mut plan), None),
    };
    // No reaper of ours takes the child before it is known to be ours.
    let _birth = owners::birth();
    let born = barrier::give_birth(&plan);
    let (tree, born) = match (tree, born) {
        // A cgroup that we may make, but not move anybody into.
        (Tree::Leaf(_) | Tree::InRow(..), Err(error))
            if error.step == Step::Cgroup && !command.contained_for_sure =>
        {
            plan.cgroup = None;
            (Tree::marked(&mut plan), barrier::give_birth(&plan))
        }
        as_it_is => as_it_is,
    };
    match born {
        Ok(born) => Ok(Child::new(born, wiring.ours, tree, command.on_drop)),
        Err(error) => Err(CommandError::born(&plan, error)),
    }
}

/// Everything but the fds.
fn plan(command: &Command) -> Result<ChildPlan, CommandError> {
    if command.nameless {
        return Err(Trouble::Nameless.of(&command.name()));
    }
    let env = command.env.list().map_err(|name| Trouble::Name(name).of(&command.name()))?;
    let program = command.program.as_bytes();
    let programs = match command.exact {
        true => vec![program.to_vec()],
        false => spawn::candidates(program, spawn::path_of(&env, &[])),
    };
    let arg0 = command.arg0.as_ref().unwrap_or(&command.program);
    let args = std::iter::once(arg0).chain(&command.args).map(|arg| arg.as_bytes().to_vec());
    Ok(ChildPlan { programs, args: args.collect(), env, ..command.context.clone() })
}

pub(super) fn status(command: &Command) -> Result<ExitStatus, CommandError> {
    spawn(command).map(|mut child| child.wait())
}

pub(super) fn output(
    command: &Command,
    input: Option<&[u8]>,
    limits: &Capture,
) -> Result<Output, CaptureError> {
    let mut command = command.clone();
    let stdin = if input.is_some() { Stdio::pipe_in() } else { Stdio::null() };
    if input.is_some() {
        command.stdin(stdin);
    } else {
        command.give(0, stdin);
    }
    command.give(1, Stdio::pipe_out());
    command.give(2, Stdio::pipe_out());
    let child = spawn(&command).map_err(CaptureError::Birth)?;
    child.communicate(input.unwrap_or_default(), limits).map_err(CaptureError::Io)
}

pub(super) fn explain(command: &Command) -> Result<Vec<String>, CommandError> {
    let mut plan = plan(command)?;
    let (mappings, mut calls) = Wiring::on_paper(&command.fds);
    plan.fds = mappings;
    let births = doula_sys::fork::explain(&plan).map_err(|error| CommandError::born(&plan, error))?;
    calls.extend(births);
    Ok(calls)
}
