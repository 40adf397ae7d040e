//! `size` as OpenAI has it, and `aspect_ratio` and `resolution` as the upstream has them (`xai-api.md` §8). Pure.

/// Shapes that the upstream makes, with the quotient of width and height.
const RATIOS: [(&str, f64); 14] = [
    ("1:1", 1.0),
    ("3:4", 3.0 / 4.0),
    ("4:3", 4.0 / 3.0),
    ("9:16", 9.0 / 16.0),
    ("16:9", 16.0 / 9.0),
    ("2:3", 2.0 / 3.0),
    ("3:2", 3.0 / 2.0),
    ("9:19.5", 9.0 / 19.5),
    ("19.5:9", 19.5 / 9.0),
    ("9:20", 9.0 / 20.0),
    ("20:9", 20.0 / 9.0),
    ("1:2", 1.0 / 2.0),
    ("2:1", 2.0),
    ("21:9", 21.0 / 9.0),
];

/// How far off a shape may be: 1024×1792 counts as 9:16.
const TOLERANCE: f64 = 0.06;
/// Pixels from which on the larger resolution is asked for: OpenAI's largest sizes (1536×1024, 1792×1024) are its usual
/// ones, and the upstream's.
const LARGE: f64 = 2_000_000.0;

/// A shape, and a resolution where it is not the usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Such as `16:9`.
    pub aspect_ratio: Option<&'static str>,
    /// `2k`.
    pub resolution: Option<&'static str>,
}

/// What a `size` means; `None` for what means nothing. Names of shapes are taken as well: the older project took them.
pub fn of_size(size: &str) -> Option<Shape> {
    let size = size.trim().to_ascii_lowercase();
    if size.is_empty() || size == "auto" {
        return Some(Shape {
            aspect_ratio: None,
            resolution: None,
        });
    }
    if let Some(ratio) = named(&size) {
        return Some(Shape {
            aspect_ratio: Some(ratio),
            resolution: None,
        });
    }
    let (width, height) = size.split_once('x')?;
    let side = |text: &str| {
        text.parse::<u32>()
            .ok()
            .filter(|side| (64..=8_192).contains(side))
            .map(f64::from)
    };
    let (width, height) = (side(width)?, side(height)?);
    // Distance between quotients, the same whichever of the two is larger.
    let distance = |quotient: f64| (width / height / quotient).ln().abs();
    let nearest = RATIOS
        .iter()
        .min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)))
        .filter(|(_, quotient)| distance(*quotient) <= TOLERANCE)?;
    Some(Shape {
        aspect_ratio: Some(nearest.0),
        resolution: (width * height >= LARGE).then_some("2k"),
    })
}

/// The shape of that name.
pub fn named(ratio: &str) -> Option<&'static str> {
    RATIOS
        .iter()
        .map(|(name, _)| *name)
        .chain(["auto"])
        .find(|name| *name == ratio)
}

/// Every shape, for messages.
pub fn names() -> String {
    let names: Vec<&str> = RATIOS.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shapes() {
        for (size, ratio, resolution) in [
            ("1024x1024", Some("1:1"), None),
            ("512x512", Some("1:1"), None),
            ("256x256", Some("1:1"), None),
            ("1536x1024", Some("3:2"), None),
            ("1024x1536", Some("2:3"), None),
            ("1792x1024", Some("16:9"), None),
            ("1024x1792", Some("9:16"), None),
            ("1280x720", Some("16:9"), None),
            ("1024x576", Some("16:9"), None),
            ("768x1024", Some("3:4"), None),
            ("2048x2048", Some("1:1"), Some("2k")),
            ("3840x2160", Some("16:9"), Some("2k")),
            ("2560x1080", Some("21:9"), Some("2k")),
            ("1:1", Some("1:1"), None),
            (" 19.5:9 ", Some("19.5:9"), None),
            ("1024X1024", Some("1:1"), None),
            ("auto", None, None),
            ("", None, None),
        ] {
            let shape = Shape {
                aspect_ratio: ratio,
                resolution,
            };
            assert_eq!(of_size(size), Some(shape), "{size}");
        }
        for size in [
            "large",
            "1024",
            "1024x",
            "x1024",
            "0x0",
            "10x10",
            "9000x9000",
            "1024x300",
            "1024x1024x3",
            "7:1",
        ] {
            assert_eq!(of_size(size), None, "{size}");
        }
    }
}
