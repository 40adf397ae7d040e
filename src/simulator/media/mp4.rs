//! A video as MP4: a few JPEG pictures one after another.

use super::jpeg::{self, SQUARES};

/// Units of a second.
const SCALE: u32 = 1_000;
/// Pictures in a second.
const RATE: u32 = 2;

/// The video of a seed, so many seconds long.
pub fn video(seed: u64, seconds: u32) -> Vec<u8> {
    let count = seconds.max(1) * RATE;
    let pictures: Vec<Vec<u8>> = (0..count).map(|at| jpeg::picture(seed.rotate_left(at * 3))).collect();
    let kind = parted(b"ftyp", &[b"isom", &0x200_u32.to_be_bytes(), b"isom", b"mp41"]);
    // The table of places has a fixed size, so it can be made twice: once to learn where the pictures begin.
    let length = movie(&pictures, 0).len();
    let start = kind.len() + length + 8;
    let mut out = kind;
    out.extend(movie(&pictures, start as u32));
    out.extend(parted(b"mdat", &pictures.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    out
}

fn parted(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = ((length + 8) as u32).to_be_bytes().to_vec();
    out.extend(name);
    parts.iter().for_each(|part| out.extend(*part));
    out
}

/// A box of numbers, of which `0` first: version and flags.
fn table(name: &[u8; 4], numbers: &[u32]) -> Vec<u8> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    parted(name, &[&bytes])
}

fn movie(pictures: &[Vec<u8>], start: u32) -> Vec<u8> {
    let count = pictures.len() as u32;
    let each = SCALE / RATE;
    let duration = count * each;
    let (width, height) = (SQUARES.0 * 8, SQUARES.1 * 8);
    // One to one, nothing turned.
    let matrix = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
    let mut header = vec![0, 0, 0, SCALE, duration, 0x1_0000, 0x100_0000, 0, 0];
    header.extend(matrix);
    header.extend([0, 0, 0, 0, 0, 0, 2]);
    // Flags 7: on, and part of the film.
    let mut track = vec![7, 0, 0, 1, 0, duration, 0, 0, 0, 0];
    track.extend(matrix);
    track.extend([u32::from(width) << 16, u32::from(height) << 16]);
    let handler = parted(b"hdlr", &[&[0; 8], b"vide", &[0; 12], b"video\0"]);
    let data = parted(
        b"dinf",
        &[&parted(b"dref", &[&[0, 0, 0, 0, 0, 0, 0, 1], &table(b"url ", &[1])])],
    );
    let mut sizes = vec![0, 0, count];
    sizes.extend(pictures.iter().map(|picture| picture.len() as u32));
    let samples = parted(
        b"stbl",
        &[
            &parted(b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1], &entry(width, height)]),
            &table(b"stts", &[0, 1, count, each]),
            &table(b"stsc", &[0, 1, 1, count, 1]),
            &table(b"stsz", &sizes),
            &table(b"stco", &[0, 1, start]),
        ],
    );
    let media = parted(
        b"mdia",
        &[
            // The language is not stated.
            &table(b"mdhd", &[0, 0, 0, SCALE, duration, 0x55c4_0000]),
            &handler,
            &parted(b"minf", &[&table(b"vmhd", &[1, 0, 0]), &data, &samples]),
        ],
    );
    parted(
        b"moov",
        &[
            &table(b"mvhd", &header),
            &parted(b"trak", &[&table(b"tkhd", &track), &media]),
        ],
    )
}

/// What the pictures are.
fn entry(width: u16, height: u16) -> Vec<u8> {
    let mut data = vec![0, 0, 0, 0, 0, 0, 0, 1];
    data.extend([0; 16]);
    data.extend(width.to_be_bytes());
    data.extend(height.to_be_bytes());
    // 72 dots an inch both ways, one picture a sample, no name, 24 bits of colour, no table of its own.
    data.extend([0, 72, 0, 0, 0, 72, 0, 0, 0, 0, 0, 0, 0, 1]);
    data.extend([0; 32]);
    data.extend([0, 24, 0xff, 0xff]);
    parted(b"jpeg", &[&data])
}
