//! Giving up root: what a command does in the service's state folder, it does as the folder's owner.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Becomes the owner of `dir` for good, if this process is root's and the folder is somebody else's; so that a command
/// that root runs leaves no file behind that the service cannot read. Anyone else stays who they are.
pub fn become_owner_of(dir: &Path) -> io::Result<()> {
    let meta = std::fs::metadata(dir)?;
    // SAFETY: geteuid only returns a number.
    if unsafe { libc::geteuid() } != 0 || meta.uid() == 0 {
        return Ok(());
    }
    // Groups first: afterwards there is no right to change them any more.
    // SAFETY: a count of zero groups needs no list.
    super::check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: setgid and setuid take plain numbers.
    super::check(unsafe { libc::setgid(meta.gid()) })?;
    // SAFETY: as above.
    super::check(unsafe { libc::setuid(meta.uid()) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::chown;
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
}
