//! Waiting for many sockets at once with poll(2).
//! It knows descriptors and readiness, not what is read or written.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// One descriptor to wait for, and afterwards what has happened to it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Entry(libc::pollfd);

impl Entry {
    /// An entry that is passed over; it keeps the place of a descriptor that is not there.
    pub const NONE: Entry = Entry(libc::pollfd { fd: -1, events: 0, revents: 0 });

    /// Waits until `fd` can be read or written, as asked for; that its other side is gone is always reported.
    pub fn new(fd: RawFd, read: bool, write: bool) -> Entry {
        let events = if read { libc::POLLIN } else { 0 } | if write { libc::POLLOUT } else { 0 };
        Entry(libc::pollfd { fd, events, revents: 0 })
    }

    fn is_live(&self) -> bool {
        0 <= self.0.fd
    }

    /// Nothing has happened.
    pub fn quiet(self) -> bool {
        self.0.revents == 0
    }

    /// A read would return at once: with bytes, the end, or an error.
    pub fn readable(self) -> bool {
        self.0.events & libc::POLLIN != 0
            && self.0.revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0
    }

    /// A write would return at once: with progress or an error.
    pub fn writable(self) -> bool {
        self.0.events & libc::POLLOUT != 0
            && self.0.revents & (libc::POLLOUT | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0
    }

    /// Both directions are over: the other side has reset the connection, or closed it after we did.
    pub fn gone(self) -> bool {
        self.0.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0
    }
}

/// Waits until an entry is ready or `timeout` has passed; an interrupting signal counts as nothing ready.
pub fn wait(entries: &mut [Entry], timeout: Duration) -> io::Result<()> {
    // Without the empty ones: the kernel takes no more entries than there may be descriptors, whatever is in them.
    let mut live: Vec<Entry> = entries.iter().filter(|it| it.is_live()).copied().collect();
    // Rounded up, because a wait that ends a moment before its deadline would only be begun again.
    let millis = timeout.as_nanos().div_ceil(1_000_000).min(60_000) as libc::c_int;
    // SAFETY: `Entry` is a transparent pollfd; the kernel writes only `revents` of the live slice it is given.
    let res = unsafe { libc::poll(live.as_mut_ptr().cast(), live.len() as libc::nfds_t, millis) };
    match super::check(res) {
        Ok(_) => {}
        Err(err) if err.kind() == io::ErrorKind::Interrupted => live.iter_mut().for_each(|it| it.0.revents = 0),
        Err(err) => return Err(err),
    }
    for (entry, seen) in entries.iter_mut().filter(|it| it.is_live()).zip(live) {
        *entry = seen;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn empty_entries_take_no_room() {
        let (mut one, other) = UnixStream::pair().unwrap();
        one.write_all(b"x").unwrap();
        // Far more than there may be descriptors.
        let mut entries = vec![Entry::NONE; 4_000_000];
        entries.push(Entry::new(other.as_raw_fd(), true, false));
        entries.push(Entry::new(one.as_raw_fd(), true, false));
        wait(&mut entries, Duration::from_secs(10)).unwrap();
        let ready: Vec<usize> = (0..entries.len()).filter(|it| entries[*it].readable()).collect();
        assert_eq!(ready, [4_000_000]);
    }
}
