//! What a file is, by its first bytes: neither its name nor what a server calls it decides how it is handed out.

use grok2api_schemas::media::MediaKind;

/// Bytes that are enough to tell.
pub const SNIFFED: usize = 32;

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileType {
    /// A picture or a film.
    pub kind: MediaKind,
    /// Its media type.
    pub mime: &'static str,
    /// What its name ends with.
    pub extension: &'static str,
}

const fn image(mime: &'static str, extension: &'static str) -> FileType {
    FileType {
        kind: MediaKind::Image,
        mime,
        extension,
    }
}

const fn video(mime: &'static str, extension: &'static str) -> FileType {
    FileType {
        kind: MediaKind::Video,
        mime,
        extension,
    }
}

const PNG: FileType = image("image/png", "png");
const JPEG: FileType = image("image/jpeg", "jpg");
const WEBP: FileType = image("image/webp", "webp");
const GIF: FileType = image("image/gif", "gif");
const BMP: FileType = image("image/bmp", "bmp");
const AVIF: FileType = image("image/avif", "avif");
const HEIC: FileType = image("image/heic", "heic");
const MP4: FileType = video("video/mp4", "mp4");
const MOV: FileType = video("video/quicktime", "mov");
const WEBM: FileType = video("video/webm", "webm");

/// What begins so; nothing for what is no picture and no film that browsers show. (An SVG is a program, and not taken.)
pub fn sniff(head: &[u8]) -> Option<FileType> {
    if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(PNG)
    } else if head.starts_with(b"\xff\xd8\xff") {
        Some(JPEG)
    } else if head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a") {
        Some(GIF)
    } else if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        Some(WEBP)
    } else if head.starts_with(b"BM") && head.get(6..10) == Some(&[0; 4]) {
        Some(BMP)
    } else if head.starts_with(b"\x1a\x45\xdf\xa3") {
        Some(WEBM)
    } else if head.get(4..8) == Some(b"ftyp") {
        Some(match head.get(8..12)? {
            b"avif" | b"avis" => AVIF,
            b"heic" | b"heix" | b"mif1" | b"msf1" => HEIC,
            b"qt  " => MOV,
            _ => MP4,
        })
    } else {
        None
    }
}

/// What a name promises, for files of the older project that were never looked into.
pub fn by_extension(name: &str) -> Option<FileType> {
    let (_, extension) = name.rsplit_once('.')?;
    [PNG, JPEG, WEBP, GIF, BMP, AVIF, HEIC, MP4, MOV, WEBM]
        .into_iter()
        .find(|known| known.extension.eq_ignore_ascii_case(extension))
        .or_else(|| extension.eq_ignore_ascii_case("jpeg").then_some(JPEG))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_what_they_begin_like() {
        for (head, found) in [
            (&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], Some(PNG)),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Some(JPEG)),
            (b"GIF89a\x01\0", Some(GIF)),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Some(WEBP)),
            (b"RIFF\x10\0\0\0WAVEfmt ", None),
            (b"\0\0\0\x20ftypisom\0\0\x02\0", Some(MP4)),
            (b"\0\0\0\x14ftypqt  \0\0\0\0", Some(MOV)),
            (b"\0\0\0\x1cftypavif\0\0\0\0", Some(AVIF)),
            (b"\x1a\x45\xdf\xa3\x01\0", Some(WEBM)),
            (b"<svg xmlns=", None),
            (b"<html>", None),
            (b"BMW is no bitmap", None),
            (b"", None),
            (b"\0\0\0\x20ftyp", None),
        ] {
            assert_eq!(sniff(head), found, "{head:?}");
        }
        assert_eq!(by_extension("users-1-generated-2-image.JPEG"), Some(JPEG));
        assert_eq!(by_extension("noextension"), None);
        assert_eq!(by_extension("page.html"), None);
    }
}
