//! Pages: copy-on-write with its counts.
//!
//! kernel/fork.c `dup_mmap`, mm/memory.c `wp_page_copy` and `wp_page_reuse`. Frames are counted, not filled: what
//! is to be seen is who shares what, and what each write costs. Huge pages and swap are not here.

use super::Kernel;
use super::call::{Advice, Reply, Value};
use super::mutant::Mutant;
use super::slab::{FrameId, MemoryId, ObjectId, Slab, TaskId};
use alloc::vec::Vec;
use doula_model::plan::Errno;

/// The bytes of a page.
pub const PAGE_BYTES: u64 = 4096;

/// The address space of a process; threads share one, and so do parent and child of vfork(2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Memory {
    pub(crate) users: u32,
    /// Not `SUID_DUMP_USER`: who has it has become another user, whose others may not trace it.
    pub(crate) guarded: bool,
    areas: Vec<Area>,
    faults: u64,
    copies: u64,
}

/// What mmap(2) made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Area {
    /// What all have who share it.
    object: Option<ObjectId>,
    advice: Advice,
    /// What is mapped.
    pages: Vec<Option<Page>>,
}

/// The pages of a shared mapping, also those that somebody has not mapped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Object {
    users: u32,
    frames: Vec<Option<FrameId>>,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
        let object = shared.then(|| Object { users: 1, frames: alloc::vec![None; pages as usize] });
        let memory = self.memory_of(task)?;
        if memory.areas.iter().map(|area| area.pages.len() as u64).sum::<u64>() + u64::from(pages) > most {
            return Err(Errno::ENOMEM);
        }
        let pages = alloc::vec![None; pages as usize];
        let number = memory.areas.len() as i32;
        let object = object.map(|object| self.objects.insert(object));
        self.memory_of(task)?.areas.push(Area { object, advice: Advice::Normal, pages });
        Ok(Value::Number(number))
    }

    /// madvise(2).
    pub(crate) fn sys_madvise(&mut self, task: TaskId, area: usize, advice: Advice) -> Reply {
        let area = self.memory_of(task)?.areas.get_mut(area).ok_or(Errno::ENOMEM)?;
        if advice == Advice::WipeOnFork && area.object.is_some() {
            return Err(Errno::EINVAL);
        }
        area.advice = advice;
        Ok(Value::ZERO)
    }

    /// Writes to the first so many pages of an area: each that is not there or shared is a fault.
    pub(crate) fn touch(&mut self, task: TaskId, area: usize, pages: u32) -> Reply {
        let key = self.tasks[task].memory.ok_or(Errno::EFAULT)?;
        let length = self.memories[key].areas.get(area).ok_or(Errno::EFAULT)?.pages.len();
        if pages as usize > length {
            return Err(Errno::EFAULT);
        }
        let before = self.memories[key].faults;
        for at in 0..pages as usize {
            self.write_page(key, area, at);
        }
        Ok(Value::Number((self.memories[key].faults - before) as i32))
    }

    /// What smaps tells of an area.
    pub(crate) fn resident(&self, task: TaskId, area: usize) -> Reply {
        let memory = &self.memories[self.tasks[task].memory.ok_or(Errno::EFAULT)?];
        let area = memory.areas.get(area).ok_or(Errno::EFAULT)?;
        Ok(Value::Pages(self.usage_of(core::slice::from_ref(area))))
    }

    fn write_page(&mut self, key: MemoryId, area: usize, at: usize) {
        let row = &self.memories[key].areas[area];
        let old = row.pages[at];
        let frame = match (old, row.object) {
            (Some(page), _) if page.writable => return,
            // The last who has it may keep it; others get a copy of their own.
            (Some(page), _) if self.frames[page.frame].users == 1 => page.frame,
            (Some(page), _) => {
                self.frames[page.frame].users -= 1;
                self.memories[key].copies += 1;
                self.frames.insert(Frame { users: 1 })
            }
            (None, Some(object)) => self.shared_frame(object, at),
            (None, None) => self.frames.insert(Frame { users: 1 }),
        };
        let free = old.is_some_and(|page| page.frame == frame) && self.bent(Mutant::LastOwnerWritesFreely);
        let memory = &mut self.memories[key];
        memory.faults += u64::from(!free);
        memory.areas[area].pages[at] = Some(Page { frame, writable: true });
    }

    /// Maps a page of a shared mapping, which has it from somebody else or gets it now.
    fn shared_frame(&mut self, object: ObjectId, at: usize) -> FrameId {
        let frame = match self.objects[object].frames[at] {
            Some(frame) => frame,
            None => self.frames.insert(Frame { users: 0 }),
        };
        self.objects[object].frames[at] = Some(frame);
        self.frames[frame].users += 1;
        frame
    }

    /// What fork(2) does with the memory: every private page is read-only in both from now on. Of a shared mapping the
    /// child has nothing before it touches it.
    pub(crate) fn copy_memory(&mut self, key: MemoryId) -> MemoryId {
        let guarded = self.memories[key].guarded;
        let mut copy = Memory { users: 1, guarded, ..Memory::default() };
        let mutant = self.config.mutant;
        for area in &mut self.memories[key].areas {
            if area.advice == Advice::DontFork && mutant != Some(Mutant::DontForkIgnored) {
                continue;
            }
            let wiped = area.advice == Advice::WipeOnFork && mutant != Some(Mutant::WipeIgnored);
            let later = area.object.is_some() && mutant != Some(Mutant::SharedMappedByFork);
            let pages = if wiped || later {
                alloc::vec![None; area.pages.len()]
            } else if mutant == Some(Mutant::CopiedAtFork) {
                let fresh = |frames: &mut Slab<FrameId, Frame>| frames.insert(Frame { users: 1 });
                let copy = |page: &Option<Page>| {
                    page.map(|_| Page { frame: fresh(&mut self.frames), writable: true })
                };
                area.pages.iter().map(copy).collect()
            } else {
                for page in area.pages.iter_mut().flatten() {
                    page.writable = area.object.is_some();
                    self.frames[page.frame].users += 1;
                }
                area.pages.clone()
            };
            area.object.into_iter().for_each(|object| self.objects[object].users += 1);
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
        for area in self.memories.remove(key).areas {
            for page in area.pages.into_iter().flatten() {
                self.frames[page.frame].users -= 1;
                if self.frames[page.frame].users == 0 && area.object.is_none() {
                    self.frames.remove(page.frame);
                }
            }
            area.object.into_iter().for_each(|object| self.leave_object(object));
        }
    }

    fn leave_object(&mut self, key: ObjectId) {
        self.objects[key].users -= 1;
        if self.objects[key].users == 0 {
            for frame in self.objects.remove(key).frames.into_iter().flatten() {
                self.frames.remove(frame);
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
        Usage { faults: memory.faults, copies: memory.copies, ..self.usage_of(&memory.areas) }
    }

    fn usage_of(&self, areas: &[Area]) -> Usage {
        let (mut usage, mut parts) = (Usage::default(), 0);
        for page in areas.iter().flat_map(|area| &area.pages).flatten() {
            let users = u64::from(self.frames[page.frame].users);
            usage.resident += 1;
            usage.private += u64::from(users == 1);
            usage.shared += u64::from(users > 1);
            // In 4096ths of a byte, as the kernel adds them.
            parts += (PAGE_BYTES << 12) / users;
        }
        usage.proportional = parts >> 12;
        usage
    }

    /// The pages of the machine that are in use.
    pub fn frames_in_use(&self) -> usize {
        self.frames.iter().count()
    }
}
