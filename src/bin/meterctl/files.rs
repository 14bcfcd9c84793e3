//! Files of this computer: whether one is still the one that was looked at, and how one is written, so that it appears when
//! it is whole and nothing else is harmed by it.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, BufWriter, ErrorKind, IntoInnerError, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::failure::{Failure, Kind};
use super::state;

/// Which file it is and how it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

impl Identity {
    /// Of an open file, or of one by its name.
    pub fn of(about: &Metadata) -> Identity {
        Identity {
            place: (about.dev(), about.ino()),
            size: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
        }
    }

    /// Of a file that is read more than once, which a pipe or a terminal cannot be.
    pub fn of_regular(path: &Path) -> Result<Identity, Failure> {
        let about = fs::metadata(path).map_err(|err| Failure::file(path, err))?;
        match about.is_file() {
            true => Ok(Identity::of(&about)),
            false => Err(Failure::file(path, "it is no regular file, and a restore reads it more than once")
                .hint("Save what comes from there to a file, and restore that.")),
        }
    }

    /// Whether a name leads to this file, in whatever state it is.
    pub fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|it| (it.dev(), it.ino()) == self.place)
    }
}

/// Writes a file that appears when it is whole. `-` is standard output, a name in `.gz` is packed; what is no regular file,
/// a device or a pipe, is written into, because nothing could take its place.
pub fn write_whole(out: &Path, write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>) -> Result<(), Failure> {
    let fail = |err: io::Error| Failure::output(out, err);
    if out.as_os_str() == "-" {
        let mut sink = BufWriter::new(io::stdout().lock());
        write(&mut sink)?;
        return sink.flush().map_err(fail);
    }
    match fs::metadata(out) {
        // What a link leads to is replaced, not the link.
        Ok(about) if about.is_file() => {
            let target = fs::canonicalize(out).map_err(fail)?;
            replace(&target, Some(about.permissions()), write)
        }
        Ok(_) => {
            let file = OpenOptions::new().write(true).open(out).map_err(fail)?;
            pour(file, out, write).map(drop)
        }
        Err(err) if err.kind() != ErrorKind::NotFound => Err(fail(err)),
        Err(_) if out.is_symlink() => Err(Failure::file(out, "it is a link that leads nowhere")),
        Err(_) => replace(out, None, write),
    }
}

/// Writes a draft beside the file, under a name that nobody else has, and lets it take the file's place at the end.
fn replace(
    target: &Path,
    permissions: Option<Permissions>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let fail = |err: io::Error| Failure::file(target, err);
    let random = state::random::<8>().map_err(|err| Failure::new(Kind::Failed, format!("/dev/urandom: {err}.")))?;
    let draft = target.with_file_name(format!(".meterctl-{}.part", state::hex(&random)));
    let file = OpenOptions::new().write(true).create_new(true).open(&draft).map_err(fail)?;
    let written = pour(file, target, write).and_then(|file| {
        permissions
            .map_or(Ok(()), |it| file.set_permissions(it))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&draft, target))
            .map_err(fail)
    });
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

fn pour(file: File, out: &Path, write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>) -> Result<File, Failure> {
    let mut sink = BufWriter::new(file);
    let whole = if out.extension().is_some_and(|it| it == "gz") {
        let mut packed = GzEncoder::new(sink, Compression::new(6));
        write(&mut packed)?;
        packed.finish().and_then(|it| it.into_inner().map_err(IntoInnerError::into_error))
    } else {
        write(&mut sink)?;
        sink.into_inner().map_err(IntoInnerError::into_error)
    };
    whole.map_err(|err| Failure::output(out, err))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;
    use std::thread;

    use super::*;

    /// A folder that is gone at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Scratch {
            let name = format!("meterctl-{}", state::hex(&state::random::<8>().unwrap()));
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Scratch(path)
        }

        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(&self.0).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn write(out: &Path, text: &str) -> Result<(), Failure> {
        write_whole(out, |sink| sink.write_all(text.as_bytes()).map_err(|err| Failure::output(out, err)))
    }

    #[test]
    fn a_file_takes_the_place_of_one_that_is_there_with_its_mode() {
        let scratch = Scratch::new();
        let (file, link, other) = (scratch.0.join("a"), scratch.0.join("b"), scratch.0.join("a.part"));
        fs::write(&other, "somebody's own").unwrap();
        write(&file, "first").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        symlink("a", &link).unwrap();
        write(&link, "second").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "second");
        assert!(link.is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_to_string(&other).unwrap(), "somebody's own");
        let failed = write_whole(&file, |sink| {
            sink.write_all(b"half").unwrap();
            Err(Failure::interrupted())
        });
        assert_eq!(failed.unwrap_err().kind, Kind::Left);
        assert_eq!(fs::read_to_string(&file).unwrap(), "second");
        assert_eq!(scratch.names(), ["a", "a.part", "b"]);
    }

    #[test]
    fn a_pipe_is_written_into() {
        let scratch = Scratch::new();
        let pipe = scratch.0.join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = {
            let pipe = pipe.clone();
            thread::spawn(move || {
                let mut text = String::new();
                File::open(pipe).unwrap().read_to_string(&mut text).unwrap();
                text
            })
        };
        write(&pipe, "rows").unwrap();
        assert_eq!(reader.join().unwrap(), "rows");
        assert_eq!(scratch.names(), ["pipe"]);
        assert_eq!(Identity::of_regular(&pipe).unwrap_err().kind, Kind::File);
    }

    #[test]
    fn neither_a_folder_nor_a_link_to_nothing_is_written_to() {
        let scratch = Scratch::new();
        let link = scratch.0.join("link");
        symlink("nothing", &link).unwrap();
        assert_eq!(write(&link, "x").unwrap_err().kind, Kind::File);
        assert_eq!(write(&scratch.0, "x").unwrap_err().kind, Kind::File);
        assert_eq!(scratch.names(), ["link"]);
    }

    #[test]
    fn a_file_is_known_by_every_name_and_a_changed_one_is_not_the_same() {
        let scratch = Scratch::new();
        let (file, link, hard) = (scratch.0.join("a"), scratch.0.join("b"), scratch.0.join("c"));
        fs::write(&file, "rows").unwrap();
        symlink("a", &link).unwrap();
        fs::hard_link(&file, &hard).unwrap();
        let seen = Identity::of_regular(&file).unwrap();
        assert!(seen.is_at(&link) && seen.is_at(&hard) && !seen.is_at(&scratch.0.join("d")));
        assert_eq!(Identity::of_regular(&link).unwrap(), seen);
        fs::write(&file, "more rows").unwrap();
        assert!(seen.is_at(&file));
        assert_ne!(Identity::of_regular(&file).unwrap(), seen);
    }
}
