//! What commands read: files, folders and standard input, packed with gzip, zstd or xz or not at all, as bytes. What it is packed
//! with is told by its first bytes, since names lie.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;

/// 256 KiB are read at once: one call of the system for some hundred entries.
const READ_BYTES: usize = 256 << 10;
/// 64 MiB for the dictionary of an xz file, in KiB: what its highest usual setting (`xz -9`) takes; a file may ask for 4 GiB.
const XZ_KIBIBYTES_MAX: u32 = 72 << 10;
/// What begins a packed file.
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];

/// Where bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Stdin,
    File(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("-"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// The places that were named: `-` is standard input, and a folder all files in it by their names, without those in folders of
/// its own and those whose name begins with a point.
pub(super) fn places(named: &[PathBuf]) -> anyhow::Result<Vec<Place>> {
    let mut places = Vec::new();
    for path in named {
        if path == Path::new("-") {
            places.push(Place::Stdin);
        } else if path.is_dir() {
            places.extend(in_folder(path).with_context(|| format!("the folder {} cannot be read", path.display()))?);
        } else {
            places.push(Place::File(path.clone()));
        }
    }
    Ok(places)
}

fn in_folder(folder: &Path) -> io::Result<Vec<Place>> {
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files.into_iter().map(Place::File).collect())
}

impl Place {
    /// Opens it, unpacked.
    pub(super) fn open(&self) -> io::Result<Box<dyn BufRead + Send>> {
        self.open_counted(&Arc::default())
    }

    /// The same; `read` counts the bytes of the file as they are read, packed as they are.
    pub(super) fn open_counted(&self, read: &Arc<AtomicU64>) -> io::Result<Box<dyn BufRead + Send>> {
        let read = Arc::clone(read);
        match self {
            Self::Stdin => unpacked(Counted { raw: io::stdin(), read }),
            Self::File(path) => unpacked(Counted { raw: File::open(path)?, read }),
        }
    }

    /// How long the file is, where that is known.
    pub(super) fn bytes(&self) -> Option<u64> {
        match self {
            Self::Stdin => None,
            Self::File(path) => path.metadata().ok().filter(std::fs::Metadata::is_file).map(|file| file.len()),
        }
    }
}

struct Counted<R> {
    raw: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.raw.read(into)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

fn unpacked(raw: impl Read + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
    let mut raw = BufReader::with_capacity(READ_BYTES, raw);
    let mut start = Vec::new();
    // A pipe may give its first bytes one by one.
    (&mut raw).take(XZ.len() as u64).read_to_end(&mut start)?;
    let packed = start.clone();
    let whole = io::Cursor::new(start).chain(raw);
    let plain: Box<dyn Read + Send> = match packed {
        start if start.starts_with(GZIP) => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        start if start.starts_with(ZSTD) => Box::new(zstd::stream::read::Decoder::new(whole)?),
        start if start.starts_with(XZ) => Box::new(lzma_rust2::XzReader::new_mem_limit(whole, true, XZ_KIBIBYTES_MAX)),
        _ => Box::new(whole),
    };
    Ok(Box::new(BufReader::with_capacity(READ_BYTES, plain)))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(bytes: Vec<u8>) -> io::Result<String> {
        let mut text = String::new();
        unpacked(io::Cursor::new(bytes))?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn packed_files_are_unpacked_and_short_ones_are_read() {
        for text in ["", "a", "select 1;\n"] {
            assert_eq!(read(text.as_bytes().to_vec()).expect("readable"), text);
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(text.as_bytes()).expect("written");
            // Two members, as `cat a.gz b.gz` and rotating tools make them.
            let gzip = gzip.finish().expect("written").repeat(2);
            assert_eq!(read(gzip).expect("readable"), text.repeat(2));
            let zstd = zstd::encode_all(text.as_bytes(), 1).expect("written").repeat(2);
            assert_eq!(read(zstd).expect("readable"), text.repeat(2));
        }
    }

    /// Made by `printf 'select 1;\n' | xz -9`, which asks for its largest usual dictionary.
    #[test]
    fn xz_is_unpacked() {
        let packed = include_bytes!("testdata/select.xz");
        assert_eq!(read(packed.to_vec()).expect("readable"), "select 1;\n");
        assert_eq!(read(packed.repeat(2)).expect("readable"), "select 1;\nselect 1;\n");
    }

    #[test]
    fn what_is_cut_is_an_error() {
        let packed = include_bytes!("testdata/select.xz");
        read(packed[..packed.len() / 2].to_vec()).expect_err("half an xz file");
        let zstd = zstd::encode_all(&b"select 1"[..], 1).expect("written");
        read(zstd[..zstd.len() - 2].to_vec()).expect_err("part of a zstd file");
    }

    #[test]
    fn a_folder_is_its_files_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.log", "a.log", ".hidden"] {
            std::fs::write(folder.path().join(name), "").expect("writable");
        }
        std::fs::create_dir(folder.path().join("more")).expect("writable");
        let names = [folder.path().to_owned(), PathBuf::from("-"), PathBuf::from("missing.log")];
        let found: Vec<String> = places(&names).expect("readable").iter().map(ToString::to_string).collect();
        let root = folder.path().display();
        assert_eq!(found, [format!("{root}/a.log"), format!("{root}/b.log"), "-".to_owned(), "missing.log".to_owned()]);
    }
}
