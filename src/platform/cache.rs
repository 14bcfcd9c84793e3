//! Emptying the web server's cache. Its contents are renamed aside within the folder, which is quick, and deleted
//! afterwards, which is not; what a power cut leaves aside goes the next time. Only what is inside the folder is touched,
//! no symbolic link is followed out of it, and memory does not grow with the number of files.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::sys::dir::Dir;
use crate::sys::random;

/// How the names of folders begin that hold what was renamed aside.
const ASIDE: &str = ".cleared-";
/// How often a folder that is still being written to is deleted before it is left for the next start.
const ATTEMPTS: usize = 3;

/// Contents of a cache that are out of its users' sight and still to be deleted.
pub struct Aside {
    cache: Dir,
    name: OsString,
}

/// Renames everything in `cache` aside. Nothing if there is no such folder. Files that others add meanwhile may stay: they
/// are fresh; files that others remove meanwhile are as good as renamed. The folder's owner, who may be another user, cannot
/// make this touch anything elsewhere.
pub fn set_aside(cache: &Path) -> io::Result<Option<Aside>> {
    let cache = match Dir::open(cache) {
        Ok(cache) => cache,
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err),
    };
    let aside = Aside { cache, name: format!("{ASIDE}{}", random::name()).into() };
    match aside.fill() {
        Ok(()) => Ok(Some(aside)),
        Err(err) => {
            // What is aside already is of no use to anybody.
            aside.delete()?;
            Err(err)
        }
    }
}

impl Aside {
    fn fill(&self) -> io::Result<()> {
        let folder = self.cache.make(&self.name)?;
        for entry in self.cache.entries()? {
            let entry = entry?;
            let name = entry.file_name();
            if is_aside(&entry) {
                continue;
            }
            match self.cache.rename_into(&name, &folder) {
                // Gone; unless it is the folder aside that is.
                Err(err) if err.kind() == ErrorKind::NotFound && !exists(&self.cache, &name) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Deletes what is aside.
    pub fn delete(self) -> io::Result<()> {
        delete_folder(&self.cache.path(&self.name))
    }
}

/// Deletes what a power cut has left aside. To be called while nobody clears.
pub fn finish(cache: &Path) -> io::Result<()> {
    let cache = match Dir::open(cache) {
        Ok(cache) => cache,
        Err(err) => return gone_is_fine(Err(err)),
    };
    for entry in cache.entries()? {
        let entry = entry?;
        if is_aside(&entry) {
            delete_folder(&cache.path(&entry.file_name()))?;
        }
    }
    Ok(())
}

fn exists(cache: &Dir, name: &OsStr) -> bool {
    fs::symlink_metadata(cache.path(name)).is_ok()
}

fn is_aside(entry: &DirEntry) -> bool {
    entry.file_name().as_bytes().starts_with(ASIDE.as_bytes()) && entry.file_type().is_ok_and(|it| it.is_dir())
}

/// Deletes a folder that its users may still write into through a descriptor that they hold.
fn delete_folder(path: &Path) -> io::Result<()> {
    for _ in 1..ATTEMPTS {
        match gone_is_fine(fs::remove_dir_all(path)) {
            Err(err) if err.kind() == ErrorKind::DirectoryNotEmpty => {}
            other => return other,
        }
    }
    gone_is_fine(fs::remove_dir_all(path))
}

fn gone_is_fine(res: io::Result<()>) -> io::Result<()> {
    match res {
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    /// A folder for a test, with a cache in it and something beside the cache that must survive.
    struct Place(PathBuf);

    impl Place {
        fn new() -> Place {
            let res = Place(std::env::temp_dir().join(format!("meterd-cache-{}", random::name())));
            fs::create_dir_all(res.cache()).unwrap();
            fs::create_dir(res.0.join("outside")).unwrap();
            fs::write(res.0.join("outside/kept"), "x").unwrap();
            res
        }

        fn cache(&self) -> PathBuf {
            self.0.join("cache")
        }

        fn entries(&self) -> usize {
            fs::read_dir(self.cache()).unwrap().count()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn everything_inside_goes_and_nothing_outside() {
        let place = Place::new();
        fs::create_dir_all(place.cache().join("a/b")).unwrap();
        fs::write(place.cache().join("a/b/file"), "x").unwrap();
        fs::write(place.cache().join(".hidden"), "x").unwrap();
        symlink(place.0.join("outside"), place.cache().join("link")).unwrap();
        symlink(place.0.join("outside"), place.cache().join("a/link")).unwrap();
        let aside = set_aside(&place.cache()).unwrap().unwrap();
        assert_eq!(place.entries(), 1, "renamed at once");
        aside.delete().unwrap();
        assert_eq!(place.entries(), 0);
        assert!(place.0.join("outside/kept").exists());
    }

    #[test]
    fn a_link_in_the_place_of_the_folder_aside_leads_nowhere() {
        let place = Place::new();
        for n in 0..3000 {
            fs::write(place.cache().join(format!("{n}")), "x").unwrap();
        }
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                // Whoever owns the cache swaps the folder aside for a link as soon as it shows up.
                while !stop.load(Ordering::Relaxed) {
                    for entry in fs::read_dir(place.cache()).unwrap().flatten() {
                        if is_aside(&entry) && fs::rename(entry.path(), place.0.join("stolen")).is_ok() {
                            symlink(place.0.join("outside"), entry.path()).unwrap();
                        }
                    }
                }
            });
            let _ = set_aside(&place.cache()).map(|it| it.map(Aside::delete));
            stop.store(true, Ordering::Relaxed);
        });
        let names: Vec<_> = fs::read_dir(place.0.join("outside")).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, ["kept"]);
    }

    #[test]
    fn a_missing_folder_is_no_error() {
        let place = Place::new();
        assert!(set_aside(&place.cache().join("none")).unwrap().is_none());
        finish(&place.cache().join("none")).unwrap();
    }

    #[test]
    fn what_a_cut_left_aside_goes_the_next_time() {
        let place = Place::new();
        fs::write(place.cache().join("old"), "x").unwrap();
        drop(set_aside(&place.cache()).unwrap().unwrap());
        fs::write(place.cache().join("new"), "x").unwrap();
        finish(&place.cache()).unwrap();
        assert_eq!(place.entries(), 1, "the new file stays");
    }

    #[test]
    fn files_written_meanwhile_do_no_harm() {
        let place = Place::new();
        for n in 0..2000 {
            fs::write(place.cache().join(format!("{n}")), "x").unwrap();
        }
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    fs::write(place.cache().join(format!("new-{}", n % 500)), "x").unwrap();
                    let _ = fs::remove_file(place.cache().join(format!("new-{}", (n + 250) % 500)));
                    n += 1;
                }
            });
            let aside = set_aside(&place.cache()).unwrap().unwrap();
            aside.delete().unwrap();
            stop.store(true, Ordering::Relaxed);
        });
        let old = (0..2000).filter(|n| place.cache().join(format!("{n}")).exists()).count();
        assert_eq!(old, 0);
    }
}
