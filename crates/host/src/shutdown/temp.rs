//! Temporary files that are gone when the process is.

use super::registry::{OnExit, on_exit};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A new file that is removed when this value is dropped, and at the end of the process if it is not ([`on_exit`]). A copy
/// of this process does not remove it. A file that somebody else put in its place stays.
///
/// ```
/// use doula_host::shutdown::TempFile;
/// use std::io::Write as _;
///
/// let mut draft = TempFile::new_in(std::env::temp_dir(), "draft")?;
/// draft.file().write_all(b"words")?;
/// let path = draft.path().to_owned();
/// assert_eq!(std::fs::read(&path)?, b"words");
/// drop(draft);
/// assert!(!path.exists());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct TempFile {
    file: File,
    path: PathBuf,
    hook: Option<OnExit>,
}

/// Only we may read and write it.
const MODE: u32 = 0o600;

impl TempFile {
    /// A file under this very path, which must not exist (open(2) with `O_CREAT | O_EXCL`, mode 0600).
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], and the others of open(2).
    ///
    /// ```
    /// use doula_host::shutdown::TempFile;
    /// let error = TempFile::create("/dev/null").unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    /// ```
    pub fn create(path: impl AsRef<Path>) -> io::Result<TempFile> {
        // Made absolute, so that a later chdir(2) does not lead to another file.
        let path = std::path::absolute(path)?;
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).mode(MODE).open(&path)?;
        let (found, at) = (file.metadata()?, path.clone());
        let hook = on_exit(&path.to_string_lossy(), move || remove(&at, (found.dev(), found.ino())));
        let hook = hook.inspect_err(|_| drop(fs::remove_file(&path)))?;
        Ok(TempFile { file, path, hook: Some(hook) })
    }

    /// A file in this directory whose name begins so, and that did not exist.
    ///
    /// # Errors
    /// Those of open(2).
    ///
    /// ```
    /// use doula_host::shutdown::TempFile;
    /// let [one, other] = [(); 2].map(|()| TempFile::new_in(std::env::temp_dir(), "same").expect("a file"));
    /// assert_ne!(one.path(), other.path());
    /// ```
    pub fn new_in(directory: impl AsRef<Path>, name: &str) -> io::Result<TempFile> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let unique = format!("{name}.{}.{count}", std::process::id());
            match TempFile::create(directory.as_ref().join(unique)) {
                // Left by a process that had our number before us and was killed.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => return made,
            }
        }
    }

    /// The open file.
    ///
    /// ```
    /// use doula_host::shutdown::TempFile;
    /// let mut file = TempFile::new_in(std::env::temp_dir(), "empty")?;
    /// assert_eq!(file.file().metadata()?.len(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where it is; absolute.
    ///
    /// ```
    /// use doula_host::shutdown::TempFile;
    /// assert!(TempFile::new_in(std::env::temp_dir(), "x")?.path().is_absolute());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It stays for good.
    ///
    /// ```
    /// use doula_host::shutdown::TempFile;
    /// let path = TempFile::new_in(std::env::temp_dir(), "kept")?.keep();
    /// assert!(path.exists());
    /// std::fs::remove_file(path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn keep(mut self) -> PathBuf {
        self.hook.take().map(OnExit::cancel);
        std::mem::take(&mut self.path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Whoever could not remove it cannot be told here.
        let _ = self.hook.take().filter(OnExit::is_ours).map(OnExit::run);
    }
}

/// Removes the file unless another one has its name by now.
fn remove(path: &Path, file: (u64, u64)) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if (found.dev(), found.ino()) == file => fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn a_temporary_file_takes_no_name_that_is_there_and_removes_none_of_another() {
        let folder = std::env::temp_dir().join(format!("doula-temp-{}", std::process::id()));
        fs::create_dir(&folder).expect("a new folder");
        // Somebody guessed the name, and laid a link to what he wants to be overwritten.
        let (trap, precious) = (folder.join("trap"), folder.join("precious"));
        fs::write(&precious, "kept").expect("a file");
        symlink(&precious, &trap).expect("a link");
        let error = TempFile::create(&trap).expect_err("the name is taken");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        let mut ours = TempFile::new_in(&folder, "ours").expect("a file");
        assert_eq!(ours.file().metadata().expect("it is open").permissions().mode() & 0o777, MODE);
        let path = ours.path().to_owned();
        fs::rename(&precious, &path).expect("both are ours");
        drop(ours);
        assert_eq!(fs::read_to_string(&path).expect("it is not ours to remove"), "kept");
        fs::remove_dir_all(&folder).expect("our own folder");
    }
}
