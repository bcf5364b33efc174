//! Pages: copy-on-write with its counts.
//!
//! kernel/fork.c `dup_mmap`, mm/memory.c `wp_page_copy` and `wp_page_reuse`. Frames are counted, not filled: what
//! is to be seen is who shares what, and what each write costs. Huge pages and swap are not here.

use super::Kernel;
use super::call::{Advice, Reply, Value};
use super::slab::{FrameId, MemoryId, TaskId};
use alloc::vec::Vec;
use doula_model::plan::Errno;

/// The bytes of a page.
pub const PAGE_BYTES: u64 = 4096;

/// The address space of a process; threads share one, and so do parent and child of vfork(2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Memory {
    pub(crate) users: u32,
    areas: Vec<Area>,
    faults: u64,
    copies: u64,
}

/// What mmap(2) made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Area {
    shared: bool,
    advice: Advice,
    pages: Vec<Option<Page>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Page {
    frame: FrameId,
    writable: bool,
}

/// A page of the machine, and how many map it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Frame {
    users: u32,
}

/// What `/proc/PID/smaps_rollup` and `/proc/PID/stat` tell of a memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Pages that are there (`Rss`).
    pub resident: u64,
    /// Pages that nobody else has (`Private_Dirty`).
    pub private: u64,
    /// Pages that others have too (`Shared_Dirty`).
    pub shared: u64,
    /// Bytes, each page divided by those who have it (`Pss`).
    pub proportional: u64,
    /// Minor faults.
    pub faults: u64,
    /// Faults for which a page was copied.
    pub copies: u64,
}

impl Kernel {
    fn memory_of(&mut self, task: TaskId) -> Result<&mut Memory, Errno> {
        let memory = self.tasks[task].memory.ok_or(Errno::EFAULT)?;
        Ok(&mut self.memories[memory])
    }

    /// mmap(2) of anonymous memory: the number of the area. Nothing is there before it is touched.
    pub(crate) fn sys_mmap(&mut self, task: TaskId, pages: u32, shared: bool) -> Reply {
        if pages == 0 {
            return Err(Errno::EINVAL);
        }
        let most = self.config.pages;
        let memory = self.memory_of(task)?;
        if memory.areas.iter().map(|area| area.pages.len() as u64).sum::<u64>() + u64::from(pages) > most {
            return Err(Errno::ENOMEM);
        }
        let pages = alloc::vec![None; pages as usize];
        memory.areas.push(Area { shared, advice: Advice::Normal, pages });
        Ok(Value::Number(memory.areas.len() as i32 - 1))
    }

    /// madvise(2).
    pub(crate) fn sys_madvise(&mut self, task: TaskId, area: usize, advice: Advice) -> Reply {
        self.memory_of(task)?.areas.get_mut(area).ok_or(Errno::ENOMEM)?.advice = advice;
        Ok(Value::ZERO)
    }

    /// Writes to the first so many pages of an area: each that is not there or shared is a fault.
    pub(crate) fn touch(&mut self, task: TaskId, area: usize, pages: u32) -> Reply {
        let key = self.tasks[task].memory.ok_or(Errno::EFAULT)?;
        let length = self.memories[key].areas.get(area).ok_or(Errno::EFAULT)?.pages.len();
        if pages as usize > length {
            return Err(Errno::EFAULT);
        }
        for at in 0..pages as usize {
            self.write_page(key, area, at);
        }
        Ok(Value::ZERO)
    }

    fn write_page(&mut self, key: MemoryId, area: usize, at: usize) {
        let old = self.memories[key].areas[area].pages[at];
        let frame = match old {
            Some(page) if page.writable => return,
            // The last who has it may keep it; others get a copy of their own.
            Some(page) if self.frames[page.frame].users == 1 => page.frame,
            Some(page) => {
                self.frames[page.frame].users -= 1;
                self.memories[key].copies += 1;
                self.frames.insert(Frame { users: 1 })
            }
            None => self.frames.insert(Frame { users: 1 }),
        };
        let memory = &mut self.memories[key];
        memory.faults += 1;
        memory.areas[area].pages[at] = Some(Page { frame, writable: true });
    }

    /// What fork(2) does with the memory: every private page is read-only in both from now on.
    pub(crate) fn copy_memory(&mut self, key: MemoryId) -> MemoryId {
        let mut copy = Memory { users: 1, ..Memory::default() };
        for area in &mut self.memories[key].areas {
            let pages = match area.advice {
                Advice::DontFork => continue,
                Advice::WipeOnFork => alloc::vec![None; area.pages.len()],
                Advice::Normal => {
                    for page in area.pages.iter_mut().flatten() {
                        page.writable &= area.shared;
                        self.frames[page.frame].users += 1;
                    }
                    area.pages.clone()
                }
            };
            copy.areas.push(Area { pages, ..*area });
        }
        self.memories.insert(copy)
    }

    /// One less who has a memory.
    pub(crate) fn leave_memory(&mut self, key: MemoryId) {
        self.memories[key].users -= 1;
        if self.memories[key].users > 0 {
            return;
        }
        let memory = self.memories.remove(key);
        for page in memory.areas.into_iter().flat_map(|area| area.pages).flatten() {
            self.frames[page.frame].users -= 1;
            if self.frames[page.frame].users == 0 {
                self.frames.remove(page.frame);
            }
        }
    }

    /// execve(2) gives a memory of its own, with nothing of the old in it.
    pub(crate) fn new_memory(&mut self, task: TaskId) {
        let new = self.first_memory();
        if let Some(old) = self.tasks[task].memory.replace(new) {
            self.leave_memory(old);
        }
    }

    /// An empty one, with one owner.
    pub(crate) fn first_memory(&mut self) -> MemoryId {
        self.memories.insert(Memory { users: 1, ..Memory::default() })
    }

    /// What a task has of the machine's memory; nothing when it has none any more.
    pub fn usage(&self, task: TaskId) -> Usage {
        let Some(memory) = self.tasks[task].memory.map(|key| &self.memories[key]) else {
            return Usage::default();
        };
        let mut usage = Usage { faults: memory.faults, copies: memory.copies, ..Usage::default() };
        for page in memory.areas.iter().flat_map(|area| &area.pages).flatten() {
            let users = u64::from(self.frames[page.frame].users);
            usage.resident += 1;
            usage.private += u64::from(users == 1);
            usage.shared += u64::from(users > 1);
            usage.proportional += PAGE_BYTES / users;
        }
        usage
    }

    /// The pages of the machine that are in use.
    pub fn frames_in_use(&self) -> usize {
        self.frames.iter().count()
    }
}
