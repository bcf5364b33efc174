//! From a pipeline to its children. One pipe at a time: no stage is born while an end of another's pipe is open that the
//! plan of its birth does not close, and we keep none but those of a relay.

use super::{Children, Joint, Pipeline, PipelineError};
use crate::child::relay::{Link, Relay};
use crate::child::{Child, OnDrop, Row};
use crate::command::{Command, CommandError, Stdio};
use doula_model::plan::{Errno, Step};
use doula_sys::fd::{self, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

pub(super) fn spawn(pipeline: Pipeline) -> Result<Children, PipelineError> {
    let mut children = Children::none(&pipeline);
    // What the next stage reads from.
    let mut input = None;
    let row = if pipeline.contained { Row::new() } else { None };
    for (stage, mut command) in pipeline.stages.into_iter().enumerate() {
        if pipeline.contained {
            command.contain(row.clone());
        }
        let joint = pipeline.joints.get(stage);
        let made = join_input(&mut command, input.take()).and_then(|()| match joint {
            Some(joint) => lay(&mut command, joint, pipeline.pipe_size, pipeline.count_pipes).map(Some),
            None => Ok(None),
        });
        let began = Instant::now();
        let born = made.and_then(|pipe| Ok((pipe, command.spawn()?)));
        match born {
            Ok((pipe, mut child)) => {
                if pipeline.count_io {
                    child.begin_counting();
                }
                input = pipe.zip(joint).map(|((reader, relay), joint)| {
                    children.link(Link { input: joint.input, relay });
                    (joint.input, reader)
                });
                children.add(command.name(), began, child);
            }
            Err(error) => {
                children.stages_mut().iter_mut().for_each(end);
                return Err(PipelineError::Birth { stage, error });
            }
        }
    }
    Ok(children)
}

/// Whatever it says of being dropped: there is no pipeline.
fn end(child: &mut Child) {
    child.set_on_drop(OnDrop::Kill);
}

fn join_input(command: &mut Command, input: Option<(i32, OwnedFd)>) -> Result<(), CommandError> {
    let Some((number, reader)) = input else { return Ok(()) };
    give(command, number, reader.into())
}

/// Makes a pipe (or two with a relay between them) behind a command; returns what the next one reads from.
fn lay(
    command: &mut Command,
    joint: &Joint,
    size: Option<usize>,
    counted: bool,
) -> Result<(OwnedFd, Option<Relay>), CommandError> {
    let name = command.name();
    let (reader, writer) = pipe(&name, size)?;
    let writer = Arc::new(writer);
    for &output in &joint.outputs {
        give(command, output, Arc::clone(&writer).into())?;
    }
    if !counted {
        return Ok((reader, None));
    }
    let (last, to) = pipe(&name, size)?;
    Ok((last, Some(Relay::new(reader, to))))
}

fn pipe(name: &str, size: Option<usize>) -> Result<(OwnedFd, OwnedFd), CommandError> {
    let pipe = fd::pipe().map_err(|errno| {
        CommandError::saying(Step::Prepare, errno, format!("no pipe behind `{name}`: {errno}"))
    })?;
    if let Some(size) = size {
        fd::set_pipe_size(&pipe.1, size).map_err(|errno| {
            let what = format!("the pipe behind `{name}` cannot hold {size} bytes: {errno}");
            CommandError::saying(Step::Prepare, errno, what)
        })?;
    }
    Ok(pipe)
}

/// What is given twice is a mistake: one of both would get nothing.
fn give(command: &mut Command, number: i32, end: Stdio) -> Result<(), CommandError> {
    if command.give(number, end) {
        return Ok(());
    }
    let what = format!(
        "fd {number} of `{}` is an end of a pipe of its pipeline, and something else too",
        command.name()
    );
    Err(CommandError::saying(Step::Prepare, Errno::EINVAL, what))
}
