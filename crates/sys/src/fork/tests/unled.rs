//! A session without leader: its first process makes it, gives way to a second child of ours, and ends. How that is told and
//! left where a kernel or a sandbox refuses is beside the other births, in `fallbacks` and `failures`.

use super::apart::{alone, apart, expect_no_child, open_fds, own_fds, refusing};
use super::*;
use crate::sandbox::Rule;
use doula_model::plan::{Resource, Rlimit, Session};

fn unled(script: &str) -> ChildPlan {
    ChildPlan { session: Session::NewSessionUnled, ..shell(script) }
}

#[test]
fn a_child_in_a_session_without_leader_is_ours_and_its_leader_is_buried() {
    apart(|| {
        own_fds();
        let before = open_fds();
        let words = output(unled("set -- $(cat /proc/$$/stat); echo $1 $4 $5 $6"));
        let numbers: Vec<i32> = words.split(' ').map(|word| word.parse().expect("a number")).collect();
        let [child, parent, group, session] = numbers[..] else { panic!("four numbers: {words}") };
        assert_eq!(parent, crate::group::pid().get());
        assert_ne!(session, child);
        assert_eq!(group, session);
        // Looked at by us and not by the child, which may run before its birth has buried the leader.
        assert!(!std::path::Path::new(&std::format!("/proc/{session}")).exists(), "the leader is buried");
        expect_no_child();
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn a_second_child_without_a_handle_is_killed_and_buried() {
    apart(|| {
        own_fds();
        if !refusing(&[Rule::call(libc::SYS_pidfd_open, Errno::EMFILE)]) {
            return;
        }
        let before = open_fds();
        // With a copy of our whole fd table, so that its handle is not made by the call that makes it.
        let plan = ChildPlan { keep_fds: true, ..unled("exec sleep 1000") };
        let error = spawn(&plan).expect_err("nobody could end it");
        assert_eq!(error, SpawnError { step: Step::Prepare, errno: Errno::EMFILE });
        expect_no_child();
        assert_eq!(open_fds(), before);
    });
}

/// Whoever ignores SIGCHLD has its children buried by the kernel, before anybody could look for them by number.
#[test]
fn a_second_child_that_is_buried_at_once_has_its_handle_all_the_same() {
    alone(
        "fork::tests::unled::a_second_child_that_is_buried_at_once_has_its_handle_all_the_same",
        |_| {},
        || {
            crate::signal::ignore(Signal::CHLD).expect("sigaction");
            for code in 0..50 {
                let born = spawn_in_place(&unled(&std::format!("exit {code}"))).expect("a birth");
                crate::poll::readable(&born.pidfd, None).expect("its end");
                let end = pidfd::exit_status(&born.pidfd);
                // Before Linux 6.15 nobody knows.
                assert!(end.is_none_or(|end| end.exit_code() == Some(code)), "{end:?}");
            }
        },
    );
}

/// The handle of the leader is closed before that of the second child is opened.
#[test]
fn one_free_number_is_enough_for_the_handle_of_a_child_in_a_session_without_leader() {
    alone(
        "fork::tests::unled::one_free_number_is_enough_for_the_handle_of_a_child_in_a_session_without_leader",
        |_| {},
        || {
            let in_place = |plan: &ChildPlan| spawn_from(plan, &Refusals::none(), Place::AsTheyAre);
            let next = fd::open(c"/", fd::Access::Directory).expect("a free number").as_raw_fd();
            let before = crate::limits::get(Resource::Nofile).expect("getrlimit");
            for (free, ends) in
                [(1, Ok(())), (0, Err(SpawnError { step: Step::Clone, errno: Errno::EMFILE }))]
            {
                let soft = u64::try_from(next).expect("a number") + free;
                crate::limits::set(Rlimit { soft, ..before }).expect("setrlimit");
                let born = in_place(&unled("exit 7"));
                assert_eq!(born.as_ref().map(drop).map_err(|error| *error), ends);
                let end = born.ok().map(|born| wait::end(Who::Pidfd(born.pidfd.as_fd())));
                assert_eq!(end, ends.ok().map(|()| Ok(ExitStatus::code(7))));
            }
            // A search for leaks at the end of this process opens files.
            crate::limits::set(before).expect("setrlimit");
        },
    );
}
