//! Giving up root: what a command does in the service's state folder, it does as the folder's owner; the service itself
//! becomes a user of its own, to whom the folder is given.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use super::user::User;

/// How deep folders are followed that are given away; the service's own are half as deep.
const MAX_DEPTH: usize = 8;

/// Becomes the owner of `dir` for good, if this process is root's and the folder is somebody else's; so that a command
/// that root runs leaves no file behind that the service cannot read. Anyone else stays who they are.
pub fn become_owner_of(dir: &Path) -> io::Result<()> {
    let meta = std::fs::metadata(dir)?;
    // SAFETY: geteuid only returns a number.
    if unsafe { libc::geteuid() } != 0 || meta.uid() == 0 {
        return Ok(());
    }
    become_user(&User { uid: meta.uid(), gid: meta.gid(), groups: Vec::new() })
}

/// Becomes a user for good, with its groups. To be called while there is one thread.
pub fn become_user(user: &User) -> io::Result<()> {
    // Groups first: afterwards there is no right to change them any more.
    let groups: Vec<libc::gid_t> = user.groups.clone();
    // SAFETY: the list is live and as long as it says.
    super::check(unsafe { libc::setgroups(groups.len() as _, groups.as_ptr()) })?;
    // SAFETY: setgid and setuid take plain numbers; called by root they set saved ids too.
    super::check(unsafe { libc::setgid(user.gid) })?;
    // SAFETY: as above.
    super::check(unsafe { libc::setuid(user.uid) })?;
    Ok(())
}

/// Gives a folder with all that is in it to a user, and what was for root's group to his. No link is followed, and a file
/// that has a second name, which may be anywhere, stays whose it is.
pub fn give(folder: &Path, user: &User) -> io::Result<()> {
    give_below(folder, user, MAX_DEPTH)
}

fn give_below(path: &Path, user: &User, depth: usize) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let opened = options.read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path);
    let file = match opened {
        // Somebody removes what he had made.
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let meta = file.metadata()?;
    let has_one_name = meta.is_file() && meta.nlink() == 1;
    if !meta.is_dir() && !has_one_name {
        return Ok(());
    }
    // The very file that was looked at, whatever its path has come to mean.
    let same = held(&file);
    // Another group than root's is there because somebody shares the folder on purpose.
    let gid = if meta.gid() == 0 { user.gid } else { meta.gid() };
    if (meta.uid(), meta.gid()) != (user.uid, gid) {
        chown(&same, Some(user.uid), Some(gid))?;
    }
    if meta.is_dir() && 0 < depth {
        for entry in std::fs::read_dir(&same)? {
            give_below(&same.join(entry?.file_name()), user, depth - 1)?;
        }
    }
    Ok(())
}

/// A path to what an open file is.
fn held(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    const FOLDER: &str = "METERD_TEST_BECOME_OWNER_OF";
    const NOBODY: u32 = 65534;

    #[test]
    fn root_becomes_the_owner_and_others_stay_who_they_are() {
        if let Some(dir) = std::env::var_os(FOLDER) {
            return in_a_process_of_its_own(Path::new(&dir));
        }
        let name: String = super::super::random::bytes::<8>().iter().map(|it| format!("{it:02x}")).collect();
        let dir = std::env::temp_dir().join(format!("meterd-owner-{name}"));
        fs::create_dir(&dir).unwrap();
        let root = fs::metadata(&dir).unwrap().uid() == 0;
        if root {
            chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let test = "sys::privilege::tests::root_becomes_the_owner_and_others_stay_who_they_are";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let status = child.args(["--exact", test]).env(FOLDER, &dir).status().unwrap();
        let left = fs::metadata(dir.join("file")).map(|it| it.uid());
        let owner = fs::metadata(&dir).unwrap().uid();
        fs::remove_dir_all(&dir).unwrap();
        assert!(status.success());
        assert_eq!(left.unwrap(), owner);
    }

    fn in_a_process_of_its_own(dir: &Path) {
        become_owner_of(dir).unwrap();
        fs::write(dir.join("file"), "").unwrap();
        // SAFETY: geteuid only returns a number.
        assert_eq!(unsafe { libc::geteuid() }, fs::metadata(dir).unwrap().uid());
        // SAFETY: setuid takes a plain number.
        assert_eq!(unsafe { libc::setuid(0) }, -1, "there is no way back");
        become_owner_of(Path::new("/")).unwrap();
        // SAFETY: geteuid only returns a number.
        assert_ne!(unsafe { libc::geteuid() }, 0, "only root changes");
    }

    #[test]
    fn a_folder_is_given_away_and_nothing_that_it_leads_to() {
        let dir = std::env::temp_dir().join(format!("meterd-give-{}", super::super::random::name()));
        fs::create_dir_all(dir.join("state/deep")).unwrap();
        for name in ["outside", "twice", "state/file", "state/deep/file"] {
            fs::write(dir.join(name), "").unwrap();
        }
        symlink(dir.join("outside"), dir.join("state/link")).unwrap();
        fs::hard_link(dir.join("twice"), dir.join("state/second")).unwrap();
        let own = fs::metadata(&dir).unwrap();
        // Whoever is not root can give only to himself.
        let uid = if own.uid() == 0 { NOBODY } else { own.uid() };
        give(&dir.join("state"), &User { uid, gid: own.gid(), groups: Vec::new() }).unwrap();
        let owner = |name: &str| fs::symlink_metadata(dir.join(name)).unwrap().uid();
        for name in ["state", "state/file", "state/deep", "state/deep/file"] {
            assert_eq!(owner(name), uid, "{name}");
        }
        for name in ["outside", "twice", "state/second", "state/link"] {
            assert_eq!(owner(name), own.uid(), "{name}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
