//! The moment in which a supervisor becomes another program, and the first one after it.

use super::Linux;
use super::home::Home;
use crate::keeper::Keeper;
use crate::logs::Stamp;
use crate::people::Desk;
use crate::steps;
use crate::upgrade::Baton;
use doula_core::engine::Engine;
use doula_core::kernel::Kernel as _;
use doula_model::action::{News, Report};
use doula_model::control::{RefusalKind, Reply};
use doula_model::id::Generation;
use doula_sys::{fd, group, time};

impl Linux {
    /// Becomes the program that was asked for, if that can go on in our place and the moment is good: everything that was
    /// decided is done, and nothing waits to be told. Comes back if it is not, or not yet, or cannot be.
    pub(super) fn upgrade(&mut self, engine: &Engine) {
        let Some(upgrade) = &mut self.home.upgrade else { return };
        upgrade.look_at_the_clock();
        let (late, due) = (upgrade.is_late(), upgrade.is_due());
        let refusal = if let Some(why) = upgrade.refused() {
            (RefusalKind::Unsupported, why.to_owned())
        } else if !due {
            return;
        } else if self.ending {
            (RefusalKind::ShuttingDown, "the family shuts down".to_owned())
        } else {
            match self.home.hindrance() {
                None => (RefusalKind::Internal, self.become_another(engine)),
                Some(_) if !late => return,
                Some(hindrance) => (RefusalKind::Internal, hindrance.to_owned()),
            }
        };
        if let Some(upgrade) = self.home.upgrade.take() {
            self.home.logs.say(Stamp::read(), &format!("no upgrade: {}", refusal.1));
            self.people.refuse(upgrade.asker, refusal);
        }
    }

    /// Comes back only to say why it could not be.
    fn become_another(&mut self, engine: &Engine) -> String {
        let since = time::monotonic();
        steps::reached("upgrade-due");
        if let Err(error) = self.home.write_all_down(engine) {
            return format!("the state of the family cannot be written down: {error}");
        }
        steps::reached("all-written-down");
        self.home.logs.flush(Stamp::read());
        let Some(upgrade) = &self.home.upgrade else { return String::new() };
        let control = fd::duplicate(self.people.door(), 3);
        let lock = self.home.lock.as_ref().map(|lock| fd::duplicate(lock, 3));
        let (Ok(control), Some(Ok(lock))) = (control, lock) else {
            return "no file can be opened".to_owned();
        };
        let baton = Baton {
            directory: self.home.notify_dir.clone(),
            lock,
            control,
            asker: self.people.line_to(upgrade.asker),
            from: self.people.version().to_owned(),
            since,
            people: self.people.hand_over(upgrade.asker.0),
            past: self.home.logs.past(),
        };
        upgrade.become_it(&baton, &self.home.words, self.home.open_files)
    }

    /// We have become this program, and look after the family: tells everybody, and who has asked first.
    pub(crate) fn upgraded(&mut self, mut baton: Baton, engine: &Engine) {
        let mut desk = Desk { engine, home: &mut self.home, events: &mut self.pending };
        self.people.attach_again(&mut desk);
        let (from, to, pid) = (baton.from.clone(), self.people.version().to_owned(), group::pid());
        let now = time::monotonic();
        let took = now.since(baton.since);
        let news = News::Upgraded { from: from.clone(), to: to.clone(), took };
        self.report(&Report { at: now, service: None, generation: Generation::default(), news });
        if let Some((stream, request)) = baton.take_asker() {
            self.people.answer_over(stream, request, &Reply::Upgraded { from, to, pid, took });
        }
    }
}

impl Home {
    /// Why it cannot be now.
    fn hindrance(&self) -> Option<&'static str> {
        let kept = self.keeper.as_ref().is_some_and(Keeper::answers);
        let hindrances = [
            (!kept, "there is no keeper that would hold what the family has open"),
            (self.journal.is_none(), "the state of the family is not written down"),
            (self.compressing.is_some(), "an old log file is still being compressed"),
            (!self.logs.is_written_out(), "the output of the family is not read, or its disk is full"),
        ];
        hindrances.into_iter().find_map(|(hinders, why)| hinders.then_some(why))
    }
}
