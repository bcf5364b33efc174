//! The loop: what happens goes to the queue, and what it says is done; written after that of `doula-host`
//! (`jobs/workers/drive.rs` and `ends.rs`).

use super::case::Trouble;
use super::paper::{Going, Over, Paper};
use super::play::{Book, Breakage};
use super::seat::{Heard, Seat};
use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use doula_core::queue::{Action, Event, Facts, Has, Hiring, Leave, NotIts, Queue, Run, SlotId};
use doula_model::plan::Errno;
use doula_model::task::{Failure, TaskId, Verdict};
use doula_model::time::Time;

/// How long those may take to be gone who were killed.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// What of a worker can be ready, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Output,
    Input,
    Process,
    Gone,
}

/// What a worker said.
enum Answered {
    Nothing,
    /// Success at a task that is not behind those of the run.
    Done(TaskId),
    Failed(TaskId),
    /// It is not believed any more.
    Wrong(String, Leave),
}

/// What of an answer is none, and to which task it says that it is.
struct NoAnswer(String, Option<TaskId>);

impl From<String> for NoAnswer {
    fn from(why: String) -> NoAnswer {
        NoAnswer(why, None)
    }
}

/// See the head of this file.
pub(super) struct Shop<'s, 'c> {
    pub(super) paper: &'s mut Paper<'c>,
    book: &'s mut Book,
    queue: Queue,
    hiring: Hiring,
    slots: SlotId,
    workers: BTreeMap<SlotId, Seat>,
    leaving: BTreeMap<u32, Seat>,
    hired: u32,
    submitted: u64,
    closed: bool,
    unsent: Vec<SlotId>,
}

impl<'s, 'c> Shop<'s, 'c> {
    pub(super) fn new(paper: &'s mut Paper<'c>, book: &'s mut Book) -> Shop<'s, 'c> {
        let case = paper.case;
        Shop {
            queue: Queue::new(case.policy.clone(), case.seed),
            hiring: Hiring::default(),
            slots: case.slots,
            workers: BTreeMap::new(),
            leaving: BTreeMap::new(),
            hired: 0,
            submitted: 0,
            closed: false,
            unsent: Vec::new(),
            paper,
            book,
        }
    }

    /// From the first task to the last burial.
    pub(super) fn run(mut self) -> Going<()> {
        loop {
            self.go_on()?;
            if self.queue.is_over() {
                break;
            }
            self.wait()?;
        }
        let grace = self.paper.case.policy.grace;
        for seat in self.workers.values_mut() {
            seat.dismiss(self.paper, grace)?;
        }
        while !self.workers.is_empty() || !self.leaving.is_empty() {
            self.wait()?;
        }
        Ok(())
    }

    fn tell(&mut self, event: Event) {
        if let Event::SubmitMany { first, count } = event {
            self.paper.checks.comes(first, count);
        } else if let Event::Again { task, .. } = event {
            self.paper.checks.comes(task, 1);
        } else if matches!(event, Event::Stop { .. }) {
            self.paper.checks.stops();
        }
        self.paper.note(event);
        if self.paper.options.broken == Some(Breakage::ForgetsDeaths) && matches!(event, Event::Died { .. }) {
            return;
        }
        self.queue.handle(self.paper.now, event);
    }

    fn go_on(&mut self) -> Going<()> {
        loop {
            self.fill()?;
            let Some(action) = self.queue.poll_action() else { return self.send() };
            self.act(action)?;
        }
    }

    fn send(&mut self) -> Going<()> {
        while let Some(slot) = self.unsent.pop() {
            if let Some(seat) = self.workers.get_mut(&slot) {
                seat.awaits_room = !seat.write(self.paper)?;
            }
        }
        Ok(())
    }

    /// Takes tasks as long as they can be begun, and starts workers as long as tasks wait for one.
    fn fill(&mut self) -> Going<()> {
        loop {
            let may_hire = self.vacancy().is_some();
            if self.queue.is_starved() {
                if !may_hire || !self.hire()? {
                    return Ok(());
                }
                continue;
            }
            if self.closed || !self.queue.wants_more_with(may_hire) {
                return Ok(());
            }
            self.take_in();
        }
    }

    /// As many tasks as a worker gets at once; those that an earlier run had begun come one by one.
    fn take_in(&mut self) {
        let last = self.paper.case.deeds.len() as u64;
        let (mut first, mut count) = (self.submitted + 1, 0);
        while count < self.queue.wanted() {
            let next = TaskId(self.submitted + 1);
            if next.0 > last {
                break;
            }
            self.submitted += 1;
            if self.book.settled.contains(&next) {
                if count > 0 {
                    break;
                }
                first = self.submitted + 1;
                continue;
            }
            if let Some((attempts, deaths)) = self.book.begun.get(&next).copied() {
                self.tell(Event::SubmitMany { first: TaskId(first), count });
                return self.tell(Event::Again { task: next, attempt: attempts + 1, deaths });
            }
            count += 1;
        }
        self.tell(Event::SubmitMany { first: TaskId(first), count });
        if self.submitted >= last {
            self.closed = true;
            self.tell(Event::Close);
        }
    }

    /// The lowest slot that has no worker, if one may be started now.
    fn vacancy(&self) -> Option<SlotId> {
        let taken = SlotId::try_from(self.workers.len()).unwrap_or(SlotId::MAX);
        if taken >= self.slots || self.hiring.not_before() > self.paper.now {
            return None;
        }
        (1..=taken + 1).find(|slot| !self.workers.contains_key(slot))
    }

    /// Starts a worker; whether there is one more.
    fn hire(&mut self) -> Going<bool> {
        let Some(slot) = self.vacancy() else { return Ok(false) };
        self.hired += 1;
        match Seat::start(self.paper, slot, self.hired)? {
            Ok(seat) => {
                self.workers.insert(slot, seat);
                self.tell(Event::Open(slot));
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::ENOMEM) if self.bears_shortage() => Ok(false),
            Err(_) => {
                self.tell(Event::Stop { now: false });
                Ok(false)
            }
        }
    }

    /// Those that there are must do; without any it is tried again, a few times.
    fn bears_shortage(&mut self) -> bool {
        if self.workers.is_empty() {
            return !self.in_vain(self.paper.now);
        }
        self.slots = SlotId::try_from(self.workers.len()).unwrap_or(SlotId::MAX);
        true
    }

    /// Nobody came to a task once more; whether there is no hope.
    fn in_vain(&mut self, born: Time) -> bool {
        let hopeless = self.hiring.in_vain(self.paper.now, born);
        self.paper.checks.in_vain(hopeless);
        hopeless
    }

    fn act(&mut self, action: Action) -> Going<()> {
        self.paper.note(action);
        match action {
            Action::Lease { slot, task, count, attempt } => self.give(slot, Has { task, count, attempt }),
            Action::Interrupt { slot, task } => {
                self.paper.checks.times_out(task);
                self.tell(Event::Leaves(slot));
                self.workers.get_mut(&slot).map_or(Ok(()), |seat| seat.interrupt(self.paper))
            }
            Action::Kill { slot, .. } => {
                self.workers.get_mut(&slot).map_or(Ok(()), |seat| seat.kill(self.paper))
            }
            Action::Retry { task, attempt, failure, .. } => {
                self.book.fails(task, attempt, failure);
                Ok(())
            }
            Action::Settled { task: TaskId(first), count, verdict, attempts } => {
                for task in (first..first + u64::from(count)).map(TaskId) {
                    self.settled(task, verdict, attempts)?;
                }
                Ok(())
            }
            Action::Halted => Ok(()),
        }
    }

    fn settled(&mut self, task: TaskId, verdict: Verdict, attempts: u32) -> Going<()> {
        // Written down, and only then told.
        self.paper.step()?;
        self.book.settled.insert(task);
        self.paper.checks.settles(task, verdict, attempts);
        Ok(())
    }

    fn give(&mut self, slot: SlotId, has: Has) -> Going<()> {
        self.paper.step()?;
        has.tasks().for_each(|task| self.book.begins(task, has.attempt));
        let Some(seat) = self.workers.get_mut(&slot) else {
            self.paper.checks.fail("nobody", alloc::format!("task {} is given to nobody", has.task));
            return Err(Over);
        };
        self.paper.checks.company(seat.desk.hands.clone().take_all().flat_map(Has::tasks));
        self.paper.checks.leases(has, seat.life.1, seat.desk.hands.count());
        seat.ask(has);
        self.send_to(slot);
        Ok(())
    }

    fn send_to(&mut self, slot: SlotId) {
        if self.unsent.last() != Some(&slot) {
            self.unsent.push(slot);
        }
    }

    /// Sleeps until something happens, and takes it in.
    fn wait(&mut self) -> Going<()> {
        let ready = self.ready()?;
        if ready.is_empty() {
            self.tell(Event::Tick);
        }
        for (number, slot, part) in ready {
            self.heard(number, slot, part)?;
            self.go_on()?;
        }
        self.lose_patience()
    }

    /// What epoll_wait(2) tells, in the order of its tokens.
    fn ready(&mut self) -> Going<Vec<(u32, SlotId, Part)>> {
        self.paper.step()?;
        let deadline = self.deadline().map(|at| {
            let late = if self.paper.fires(Trouble::TimerLate) { 700 } else { 0 };
            at.after(Duration::from_millis(late))
        });
        loop {
            // Others go on before it is heard.
            if self.paper.fires(Trouble::Slow) {
                self.paper.play_round();
                self.paper.going()?;
            }
            let ready = self.told();
            if !ready.is_empty() {
                ready.iter().filter(|(.., part)| *part == Part::Process).for_each(|(_, slot, _)| {
                    if let Some(seat) = self.workers.get_mut(slot) {
                        seat.ended_told = true;
                    }
                });
                return Ok(ready);
            }
            if deadline.is_some_and(|at| at <= self.paper.now) || self.paper.fires(Trouble::SpuriousWake) {
                return Ok(Vec::new());
            }
            let moved = self.paper.play_round();
            self.paper.going()?;
            if !moved && self.collect().is_empty() && !self.paper.let_time_pass(deadline) {
                let text = alloc::format!(
                    "the run waits for what never happens; {} tasks in work",
                    self.queue.in_work()
                );
                self.paper.checks.fail("hang", text);
                return Err(Over);
            }
        }
    }

    /// All that is ready, or some of it.
    fn told(&mut self) -> Vec<(u32, SlotId, Part)> {
        let mut ready = self.collect();
        if !ready.is_empty() && self.paper.fires(Trouble::OnlySome) {
            let at = self.paper.below(Trouble::OnlySome, ready.len() as u64) as usize;
            ready = ready.split_off(at);
            ready.truncate(1);
        }
        if self.paper.fires(Trouble::Late) {
            ready.retain(|(.., part)| *part != Part::Process);
        }
        ready
    }

    fn collect(&self) -> Vec<(u32, SlotId, Part)> {
        let paper = &*self.paper;
        let mut ready = Vec::new();
        for seat in self.workers.values() {
            let parts = [
                (Part::Output, seat.can_be_heard(paper)),
                (Part::Input, seat.has_room(paper)),
                (Part::Process, !seat.ended_told && seat.has_ended(paper)),
            ];
            let on = parts.into_iter().filter(|(_, on)| *on);
            ready.extend(on.map(|(part, _)| (seat.number, seat.slot, part)));
        }
        for seat in
            self.leaving.values().filter(|seat| seat.has_ended(paper) && !paper.is_populated(seat.leaf))
        {
            ready.push((seat.number, seat.slot, Part::Gone));
        }
        ready.sort_unstable();
        ready
    }

    fn deadline(&self) -> Option<Time> {
        let hire = self.queue.is_starved().then(|| self.hiring.not_before());
        let hire = hire.filter(|at| *at > self.paper.now);
        let all = || self.workers.values().chain(self.leaving.values());
        let patience = all().filter_map(|seat| seat.until).min();
        let kill = all().filter_map(Seat::kills_again_at).min();
        let kill = kill.filter(|_| self.paper.options.broken != Some(Breakage::KillsOnce));
        [self.queue.deadline(), patience, kill, hire].into_iter().flatten().min()
    }

    fn heard(&mut self, number: u32, slot: SlotId, part: Part) -> Going<()> {
        if self.workers.get(&slot).is_none_or(|seat| seat.number != number) {
            return self.farewell(number);
        }
        match part {
            Part::Output => self.answers(slot),
            Part::Input => {
                self.send_to(slot);
                self.send()
            }
            Part::Process | Part::Gone => self.ended(slot),
        }
    }

    /// Takes in what a worker answered.
    fn answers(&mut self, slot: SlotId) -> Going<()> {
        let Some(seat) = self.workers.get_mut(&slot) else { return Ok(()) };
        if seat.read(self.paper)? == Heard::End {
            seat.deaf = true;
            self.tell(Event::Leaves(slot));
            return Ok(());
        }
        self.send_to(slot);
        self.take_answers(slot)
    }

    fn take_answers(&mut self, slot: SlotId) -> Going<()> {
        let mut run = Run::new(slot);
        loop {
            let heard = self.hear(&mut run);
            let Run { slot, first, count } = run;
            run.count = 0;
            if count > 0 {
                self.paper.checks.serves();
                self.hiring.served();
                self.renew(slot)?;
                self.tell(Event::Done { slot, first, count });
            }
            match heard {
                Answered::Nothing => return Ok(()),
                Answered::Done(first) => run = Run { slot, first, count: 1 },
                Answered::Failed(task) => {
                    self.paper.checks.serves();
                    self.hiring.served();
                    self.renew(slot)?;
                    self.tell(Event::Ended { slot, task, failure: Some(Failure::Answered) });
                }
                Answered::Wrong(why, leave) => return self.banish(slot, why, leave),
            }
        }
    }

    /// What a worker said, up to something that is no success at the task behind those of `run`.
    fn hear(&mut self, run: &mut Run) -> Answered {
        loop {
            let done = match self.hear_one(run.slot) {
                Ok(Some(Answered::Done(done))) => done,
                Ok(Some(other)) => return other,
                Ok(None) => return Answered::Nothing,
                Err(NoAnswer(why, of)) => {
                    let leave = self.workers.get(&run.slot).map_or(Leave::Lied, |seat| seat.desk.lied(of));
                    return Answered::Wrong(why, leave);
                }
            };
            if !run.joins(done) {
                return Answered::Done(done);
            }
        }
    }

    fn hear_one(&mut self, slot: SlotId) -> Result<Option<Answered>, NoAnswer> {
        let Some(seat) = self.workers.get_mut(&slot) else { return Ok(None) };
        let numbered = self.paper.case.numbered;
        let Some(line) = seat.line()? else { return Ok(None) };
        let said = Said::of(&line, numbered);
        let anyhow = self.paper.options.broken == Some(Breakage::BelievesOrder);
        let whose = || said.as_ref().and_then(|said| said.task).filter(|_| !anyhow);
        let task = seat.desk.addressee(whose).map_err(|why| match why {
            NotIts::Unasked => NoAnswer("it spoke unasked".to_owned(), None),
            NotIts::Stray(task) => NoAnswer("it does not have that task".to_owned(), Some(task)),
        })?;
        let Some(said) = said else { return Err(NoAnswer("it said what is no answer".to_owned(), None)) };
        if said.task.is_some_and(|other| other != task) && !anyhow {
            return Err(NoAnswer("it answered another task".to_owned(), said.task));
        }
        self.paper.checks.takes(task, seat.life.1, said.result);
        if seat.desk.hands.single().is_some() && !seat.answers.is_empty() {
            return Err(NoAnswer("it answered more than once".to_owned(), None));
        }
        seat.desk.has_answered(task);
        Ok(Some(if said.good { Answered::Done(task) } else { Answered::Failed(task) }))
    }

    /// A worker that has answered enough is told to end; one that was asked to end does not get around it by an answer.
    fn renew(&mut self, slot: SlotId) -> Going<()> {
        let case = self.paper.case;
        let absent = self.workers.values().filter(|seat| seat.desk.worn || seat.desk.answered == 0).count();
        let absent = SlotId::try_from(absent).unwrap_or(SlotId::MAX);
        let Some(seat) = self.workers.get_mut(&slot) else { return Ok(()) };
        let enough = case.max_tasks.is_some_and(|most| seat.desk.answered >= most);
        seat.desk.worn |= enough && absent < Hiring::absent(self.slots) || seat.desk.interrupted;
        if !seat.desk.worn {
            return Ok(());
        }
        if seat.desk.hands.is_empty() {
            seat.dismiss(self.paper, case.policy.grace)?;
        }
        self.tell(Event::Leaves(slot));
        Ok(())
    }

    fn banish(&mut self, slot: SlotId, why: String, leave: Leave) -> Going<()> {
        let Some(mut seat) = self.workers.remove(&slot) else { return Ok(()) };
        if !seat.desk.dismissed {
            seat.fault = Some(why);
        }
        self.part_with(seat, leave)
    }

    /// The process of a worker may have ended.
    fn ended(&mut self, slot: SlotId) -> Going<()> {
        while let Some(seat) = self.workers.get_mut(&slot) {
            if seat.try_wait(self.paper)?.is_none() {
                seat.ended_told = false;
                return Ok(());
            }
            let deaf = self.paper.options.broken == Some(Breakage::DeafToLastWords);
            if deaf || seat.read(self.paper)? != Heard::Some {
                break;
            }
            self.take_answers(slot)?;
        }
        match self.workers.remove(&slot) {
            Some(seat) => self.part_with(seat, Leave::Ended),
            None => Ok(()),
        }
    }

    /// Tells the queue that a worker gets no more, and what of its task; who is left of it is killed.
    fn part_with(&mut self, mut seat: Seat, leave: Leave) -> Going<()> {
        let took_nothing = match self.paper.options.broken {
            Some(Breakage::BlamesNobody) => true,
            Some(Breakage::BlamesEverybody) => false,
            _ => seat.took_nothing(self.paper),
        };
        let status = seat.try_wait(self.paper)?;
        let hands: Vec<TaskId> = seat.desk.hands.clone().take_all().flat_map(Has::tasks).collect();
        let (life, interrupted) = (seat.life, seat.desk.interrupted);
        if seat.desk.ends_by_itself(leave) && !interrupted {
            hands.iter().for_each(|task| self.paper.checks.unheard(*task, life.1));
        }
        let paper = &mut *self.paper;
        let parting = seat
            .desk
            .part(Facts { leave, status, took_nothing }, || core::mem::take(&mut paper.out_of_memory));
        let paper = &*self.paper;
        let touched = |task: &TaskId| paper.has_touched(life, paper.checks.last(*task));
        let hands: Vec<_> = hands.iter().map(|task| (*task, touched(task))).collect();
        self.paper.checks.parts((leave, life.1), (&parting, interrupted), &hands);
        seat.kill(self.paper)?;
        let (slot, born, number) = (seat.slot, seat.born, seat.number);
        let in_vain = parting.in_vain;
        if parting.took_some {
            self.paper.checks.serves();
            self.hiring.served();
        }
        seat.until = Some(self.paper.now.after(GONE_WITHIN));
        seat.gone_by = seat.until;
        self.leaving.insert(number, seat);
        self.farewell(number)?;
        for event in parting.events(slot) {
            self.tell(event);
        }
        if in_vain && self.in_vain(born) {
            self.tell(Event::Stop { now: false });
        }
        Ok(())
    }

    /// Forgets a worker that has left, when all its descendants are gone.
    fn farewell(&mut self, number: u32) -> Going<()> {
        let Some(mut seat) = self.leaving.remove(&number) else { return Ok(()) };
        if seat.is_gone(self.paper)? {
            return seat.forget(self.paper);
        }
        if seat.gone_by.is_some_and(|by| by <= self.paper.now) {
            self.paper.checks.fail("unkillable", alloc::format!("worker {number} cannot be killed"));
            return Err(Over);
        }
        self.leaving.insert(number, seat);
        Ok(())
    }

    /// Kills those whose time is over, and those again who were killed and are not gone.
    fn lose_patience(&mut self) -> Going<()> {
        let now = self.paper.now;
        let is_late = |seat: &Seat| seat.until.is_some_and(|until| until <= now);
        let repeats = self.paper.options.broken != Some(Breakage::KillsOnce);
        for seat in self.workers.values_mut() {
            if is_late(seat) {
                seat.kill(self.paper)?;
            } else if repeats {
                seat.kill_again(self.paper)?;
            }
        }
        let mut due = Vec::new();
        for (number, seat) in &mut self.leaving {
            if is_late(seat) || (repeats && seat.kill_again(self.paper)?) {
                due.push(*number);
            }
        }
        due.into_iter().try_for_each(|number| self.farewell(number))
    }
}

/// A line as it is understood.
struct Said {
    task: Option<TaskId>,
    good: bool,
    result: Option<u64>,
}

impl Said {
    fn of(line: &[u8], numbered: bool) -> Option<Said> {
        let mut words = core::str::from_utf8(line).ok()?.split_whitespace();
        let task = if numbered { Some(TaskId(words.next()?.parse().ok()?)) } else { None };
        let good = match words.next()? {
            "ok" => true,
            "no" => false,
            _ => return None,
        };
        let result = words.next().and_then(|word| u64::from_str_radix(word, 16).ok());
        Some(Said { task, good, result })
    }
}
