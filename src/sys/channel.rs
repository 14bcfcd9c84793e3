//! Messages between two processes of ours: whole ones, in order, with descriptors beside them (unix(7), SOCK_SEQPACKET).
//! It knows how they travel and not what they say.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use super::{check, poll};

/// Descriptors that come with one message at most.
pub const MAX_DESCRIPTORS: usize = 2;
/// Room for a control message with so many of them; more than its alignment needs on any target.
const ROOM: usize = 64;

/// One end of a connection. The other end sees it close.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// A message that has come.
#[derive(Debug)]
pub struct Received {
    /// How much of the buffer it fills.
    pub length: usize,
    /// What came beside it.
    pub descriptors: Vec<OwnedFd>,
}

/// The buffer of a control message, aligned as its head must be.
#[repr(C, align(8))]
struct Control([u8; ROOM]);

impl Channel {
    /// Both ends of a new connection.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let mut fds = [0; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: `fds` has room for the two descriptors that the kernel writes.
        check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
        // SAFETY: both descriptors are new and owned by nobody else.
        Ok(unsafe { (Channel(OwnedFd::from_raw_fd(fds[0])), Channel(OwnedFd::from_raw_fd(fds[1]))) })
    }

    /// Sends one message with up to [`MAX_DESCRIPTORS`] beside it. `BrokenPipe` says that the other end is closed.
    pub fn send(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if MAX_DESCRIPTORS < descriptors.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut control = Control([0; ROOM]);
        let mut piece = libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() };
        let bytes = (descriptors.len() * size_of::<libc::c_int>()) as libc::c_uint;
        // SAFETY: all-zero is a valid msghdr; `control` is aligned and larger than CMSG_SPACE of what is put into it, so
        // head and data lie within it; the kernel only reads what these pointers lead to, all of it live.
        let sent = unsafe {
            let mut head: libc::msghdr = zeroed();
            (head.msg_iov, head.msg_iovlen) = (&raw mut piece, 1);
            if !descriptors.is_empty() {
                head.msg_control = control.0.as_mut_ptr().cast();
                head.msg_controllen = libc::CMSG_SPACE(bytes) as _;
                let first = libc::CMSG_FIRSTHDR(&raw const head);
                (*first).cmsg_level = libc::SOL_SOCKET;
                (*first).cmsg_type = libc::SCM_RIGHTS;
                (*first).cmsg_len = libc::CMSG_LEN(bytes) as _;
                for (at, it) in descriptors.iter().enumerate() {
                    ptr::write_unaligned(libc::CMSG_DATA(first).cast::<libc::c_int>().add(at), it.as_raw_fd());
                }
            }
            libc::sendmsg(self.0.as_raw_fd(), &raw const head, libc::MSG_NOSIGNAL)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next message, however long it takes to come; nothing when the other end is closed. One that is larger than
    /// `buffer`, or has more descriptors than there may be, is an error, and the next one can be received all the same.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let mut control = Control([0; ROOM]);
        let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut descriptors = Vec::new();
        // SAFETY: all-zero is a valid msghdr; buffer and control are live and as large as the kernel is told; control
        // messages are walked as cmsg(3) has it, and the descriptors in them are new and owned by nobody else.
        let (length, flags) = unsafe {
            let mut head: libc::msghdr = zeroed();
            (head.msg_iov, head.msg_iovlen) = (&raw mut piece, 1);
            head.msg_control = control.0.as_mut_ptr().cast();
            head.msg_controllen = libc::CMSG_SPACE((MAX_DESCRIPTORS * size_of::<libc::c_int>()) as libc::c_uint) as _;
            let length = libc::recvmsg(self.0.as_raw_fd(), &raw mut head, libc::MSG_CMSG_CLOEXEC);
            if length < 0 {
                return Err(io::Error::last_os_error());
            }
            let mut at = libc::CMSG_FIRSTHDR(&raw const head);
            while !at.is_null() {
                if (*at).cmsg_level == libc::SOL_SOCKET && (*at).cmsg_type == libc::SCM_RIGHTS {
                    let bytes = (*at).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                    let data = libc::CMSG_DATA(at).cast::<libc::c_int>();
                    for n in 0..bytes / size_of::<libc::c_int>() {
                        descriptors.push(OwnedFd::from_raw_fd(ptr::read_unaligned(data.add(n))));
                    }
                }
                at = libc::CMSG_NXTHDR(&raw const head, at);
            }
            (length as usize, head.msg_flags)
        };
        if flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // No message is empty, so this is the end.
        Ok(if length == 0 { None } else { Some(Received { length, descriptors }) })
    }

    /// Closes the connection for both ends, also if others hold this one too.
    pub fn shut(&self) {
        // SAFETY: shutdown takes plain numbers. Of a connection that is closed already there is nothing to tell.
        unsafe { libc::shutdown(self.0.as_raw_fd(), libc::SHUT_RDWR) };
    }

    /// Whether there is a message, or the end of the connection, within `wait`.
    pub fn is_ready(&self, wait: Duration) -> io::Result<bool> {
        let mut entries = [poll::Entry::new(self.0.as_raw_fd(), true, false)];
        poll::wait(&mut entries, wait)?;
        Ok(!entries[0].quiet())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Channel {
    /// A descriptor that came beside a message.
    fn from(fd: OwnedFd) -> Channel {
        Channel(fd)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn messages_come_whole_and_in_order_until_the_end() {
        let (one, other) = Channel::pair().unwrap();
        one.send(b"first", &[]).unwrap();
        one.send(b"2", &[]).unwrap();
        let mut buffer = [0; 16];
        let mut next = || other.receive(&mut buffer).unwrap().map(|it| buffer[..it.length].to_vec());
        assert_eq!((next().unwrap(), next().unwrap()), (b"first".to_vec(), b"2".to_vec()));
        assert!(!other.is_ready(Duration::ZERO).unwrap());
        drop(one);
        assert!(other.is_ready(Duration::ZERO).unwrap() && other.receive(&mut [0; 16]).unwrap().is_none());
        assert_eq!(other.send(b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn descriptors_travel_beside_a_message() {
        let path = std::env::temp_dir().join(format!("meterd-channel-{}", super::super::random::name()));
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (one, other) = Channel::pair().unwrap();
        one.send(b"x", &[file.as_fd(), one.as_fd()]).unwrap();
        let mut received = other.receive(&mut [0; 16]).unwrap().unwrap().descriptors;
        let (mut copy, again) = {
            let again = Channel::from(received.pop().unwrap());
            (File::from(received.pop().unwrap()), again)
        };
        copy.write_all(b"written there").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        again.send(b"y", &[]).unwrap();
        assert_eq!((text.as_str(), other.receive(&mut [0; 16]).unwrap().unwrap().length), ("written there", 1));
    }

    #[test]
    fn what_is_too_large_is_refused_and_the_next_one_comes() {
        let (one, other) = Channel::pair().unwrap();
        one.send(&[7; 100], &[]).unwrap();
        one.send(b"next", &[]).unwrap();
        assert_eq!(other.receive(&mut [0; 16]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(other.receive(&mut [0; 16]).unwrap().unwrap().length, 4);
        assert!(one.send(b"x", &[one.as_fd(), one.as_fd(), one.as_fd()]).is_err());
    }
}
