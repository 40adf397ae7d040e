//! A picture as JPEG: squares of one grey each, the plainest that the baseline form allows.

/// Width and height, in squares of eight by eight.
pub const SQUARES: (u16, u16) = (8, 6);

/// The picture of a seed.
pub fn picture(seed: u64) -> Vec<u8> {
    let (width, height) = (SQUARES.0 * 8, SQUARES.1 * 8);
    let mut out = vec![0xff, 0xd8];
    segment(&mut out, 0xe0, b"JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00");
    // All steps are one.
    let mut steps = vec![0];
    steps.extend([1; 64]);
    segment(&mut out, 0xdb, &steps);
    let [height_high, height_low] = height.to_be_bytes();
    let [width_high, width_low] = width.to_be_bytes();
    segment(
        &mut out,
        0xc0,
        &[8, height_high, height_low, width_high, width_low, 1, 1, 0x11, 0],
    );
    // Steps of brightness: twelve classes, each a code of four bits.
    let mut classes = vec![0x00, 0, 0, 0, 12];
    classes.extend([0; 12]);
    classes.extend(0..12);
    segment(&mut out, 0xc4, &classes);
    // Inside a square there is nothing: one code of one bit, the end.
    let mut inside = vec![0x10, 1];
    inside.extend([0; 15]);
    inside.push(0);
    segment(&mut out, 0xc4, &inside);
    segment(&mut out, 0xda, &[1, 1, 0x00, 0, 63, 0]);
    squares(&mut out, seed);
    out.extend([0xff, 0xd9]);
    out
}

fn segment(out: &mut Vec<u8>, marker: u8, data: &[u8]) {
    out.extend([0xff, marker]);
    out.extend((data.len() as u16 + 2).to_be_bytes());
    out.extend(data);
}

fn squares(out: &mut Vec<u8>, seed: u64) {
    let mut bits = Bits::default();
    let mut last = 0_i32;
    for square in 0..u32::from(SQUARES.0) * u32::from(SQUARES.1) {
        // Grey from 0 to 255 around the middle, times eight as the transform has it.
        let grey = (seed.rotate_left(square * 5) & 0xff) as i32;
        let level = (grey - 128) * 8;
        let step = level - last;
        last = level;
        let class = 32 - step.unsigned_abs().leading_zeros();
        bits.push(out, class, 4);
        if class > 0 {
            // What is negative is written as its complement.
            let written = if step < 0 { step + (1 << class) - 1 } else { step };
            bits.push(out, written as u32, class);
        }
        bits.push(out, 0, 1);
    }
    bits.fill(out);
}

#[derive(Default)]
struct Bits {
    held: u32,
    count: u32,
}

impl Bits {
    fn push(&mut self, out: &mut Vec<u8>, value: u32, bits: u32) {
        for at in (0..bits).rev() {
            self.held = self.held << 1 | (value >> at & 1);
            self.count += 1;
            if self.count == 8 {
                out.push(self.held as u8);
                if self.held == 0xff {
                    out.push(0);
                }
                (self.held, self.count) = (0, 0);
            }
        }
    }

    fn fill(&mut self, out: &mut Vec<u8>) {
        while self.count > 0 {
            self.push(out, 1, 1);
        }
    }
}
