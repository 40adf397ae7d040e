//! Answers that depend on the prompt: a few believable sentences that take up what was asked, and the thinking before
//! them. The same prompt gets the same answer.

use super::request::{ChatRequest, Content, Part, Role};

/// Fewest visible words of an answer, so that a stream has at least 20 chunks.
const FEWEST_WORDS: usize = 26;
/// Longest quotation of the prompt, in characters.
const LONGEST_QUOTE: usize = 160;

/// What the prompt comes down to.
#[derive(Debug)]
pub struct Gist {
    /// The last user text without magic prompts.
    pub asked: String,
    /// Pictures in it.
    pub images: usize,
    /// Results of tools since then: (name, result).
    pub results: Vec<(String, String)>,
    seed: u64,
}

impl Gist {
    /// Reads the conversation.
    pub fn of(request: &ChatRequest) -> Gist {
        let asked = without_magic(&request.last_user_text());
        let last_user = request.messages.iter().rposition(|message| message.role == Role::User);
        let after = last_user.map_or(0, |at| at + 1);
        let images = last_user
            .and_then(|at| request.messages.get(at)?.content.as_ref())
            .map_or(0, |content| match content {
                Content::Text(_) => 0,
                Content::Parts(parts) => parts
                    .iter()
                    .filter(|part| matches!(part, Part::ImageUrl { .. }))
                    .count(),
            });
        let results = request.messages[after..]
            .iter()
            .filter(|message| matches!(message.role, Role::Tool | Role::Function))
            .map(|message| {
                let id = message.tool_call_id.as_deref().unwrap_or_default();
                let called = request
                    .messages
                    .iter()
                    .flat_map(|message| message.tool_calls.iter().flatten())
                    .find(|call| call.id == id)
                    .map(|call| call.function.name.clone());
                let name = called
                    .or_else(|| message.name.clone())
                    .unwrap_or_else(|| "the tool".to_owned());
                (name, message.content.as_ref().map(Content::text).unwrap_or_default())
            })
            .collect();
        let hash = blake3::hash(asked.as_bytes());
        let mut seed = [0u8; 8];
        seed.copy_from_slice(&hash.as_bytes()[..8]);
        Gist {
            images,
            results,
            seed: u64::from_le_bytes(seed),
            asked,
        }
    }

    fn pick<'a>(&self, from: &[&'a str], salt: u64) -> &'a str {
        let index = self.seed.rotate_left((salt * 7 % 64) as u32) % from.len().max(1) as u64;
        from.get(index as usize).copied().unwrap_or_default()
    }

    /// The prompt, shortened to be quoted.
    pub fn quote(&self) -> String {
        let line = self.asked.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.chars().count() <= LONGEST_QUOTE {
            return line;
        }
        let mut short: String = line.chars().take(LONGEST_QUOTE).collect();
        short.push('…');
        short
    }

    /// The longest words that say something, at most three, in the order they stand.
    pub fn subjects(&self) -> Vec<String> {
        const EMPTY: [&str; 34] = [
            "about", "after", "again", "answer", "could", "describe", "does", "explain", "from", "give", "have",
            "hello", "please", "should", "that", "their", "there", "these", "they", "this", "those", "what", "whats",
            "when", "where", "which", "while", "will", "with", "would", "write", "your", "tell", "short",
        ];
        let mut words: Vec<(usize, String)> = Vec::new();
        for (at, word) in self
            .asked
            .split(|char: char| !char.is_alphanumeric() && char != '-')
            .enumerate()
        {
            let plain = word.to_lowercase();
            let known = words.iter().any(|(_, other)| other.to_lowercase() == plain);
            if plain.chars().count() >= 4 && !EMPTY.contains(&plain.as_str()) && !known {
                words.push((at, word.to_owned()));
            }
        }
        words.sort_by_key(|(at, word)| (std::cmp::Reverse(word.chars().count().min(14)), *at));
        words.truncate(3);
        words.sort_by_key(|(at, _)| *at);
        words.into_iter().map(|(_, word)| word).collect()
    }

    /// The thinking before the answer.
    pub fn thinking(&self, effort: &str) -> String {
        let quote = self.quote();
        let mut text = format!("First, the user says: \"{quote}\".");
        if self.images > 0 {
            text.push_str(" There is a picture with it, so I should look at that before I answer.");
        }
        if let Some((name, _)) = self.results.last() {
            text.push_str(&format!(" I have the result of {name}, so I can answer from it."));
        }
        let subjects = self.subjects();
        if !subjects.is_empty() {
            text.push_str(&format!(" The point is {}.", listed(&subjects)));
        }
        text.push_str(" I should answer that directly, in a few clear sentences.");
        let more = match effort {
            "high" | "xhigh" => 4,
            "medium" => 2,
            _ => 0,
        };
        for round in 0..more {
            text.push_str(self.pick(
                &[
                    " Let me check that once more from the other side.",
                    " What could be wrong with this? Mostly that it leaves out a detail.",
                    " A short example would make it easier to follow.",
                    " I had better say plainly what I am not sure of.",
                ],
                round,
            ));
        }
        text
    }

    /// The answer.
    pub fn answer(&self, choice: usize) -> String {
        let salt = choice as u64;
        let subjects = self.subjects();
        let about = if subjects.is_empty() {
            "this".to_owned()
        } else {
            listed(&subjects)
        };
        let mut text = String::new();
        if let Some((name, result)) = self.results.last() {
            text.push_str(&format!(
                "According to {name}: {}. ",
                result.trim().trim_end_matches('.')
            ));
            for (name, result) in self.results.iter().rev().skip(1) {
                text.push_str(&format!("And {name} says: {}. ", result.trim().trim_end_matches('.')));
            }
        } else if self.asked.is_empty() {
            text.push_str("You have not asked me anything yet. ");
        } else if let Some(sum) = arithmetic(&self.asked) {
            text.push_str(&format!("{sum} "));
        } else {
            text.push_str(self.pick(&["You asked: ", "Your question was: ", "You said: "], salt));
            text.push_str(&format!("\"{}\" ", self.quote()));
        }
        match self.images {
            0 => {}
            1 => text.push_str("I looked at the picture you sent as well. "),
            many => text.push_str(&format!("I looked at the {many} pictures you sent as well. ")),
        }
        let sentences = [
            format!("The short answer is that {about} comes down to a few simple things."),
            format!("When people talk about {about}, they usually mean the part that can be seen and measured."),
            format!("It helps to take {about} one step at a time and to look at a small example first."),
            "Start with what you know for certain, then change one thing and watch what follows.".to_owned(),
            "If something in there matters more to you than the rest, tell me and I will go into it.".to_owned(),
            format!("So much for {about}; I am a simulated model, and I made this answer from your words."),
        ];
        let start = (self.seed % 3) as usize + choice;
        for step in 0..sentences.len() {
            let enough = text.split_whitespace().count() >= FEWEST_WORDS && step >= 3;
            if enough {
                break;
            }
            if let Some(sentence) = sentences.get((start + step) % sentences.len()) {
                text.push_str(sentence);
                text.push(' ');
            }
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// `a`, `a and b`, `a, b and c`.
fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// Takes `[[sim:…]]` out of a text.
fn without_magic(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("[[sim:") {
        clean.push_str(&rest[..at]);
        let Some(end) = rest[at..].find("]]") else {
            rest = "";
            break;
        };
        rest = &rest[at + end + 2..];
    }
    clean.push_str(rest);
    clean.trim().to_owned()
}

/// "What is 12 * 3?" → "12 * 3 = 36."
fn arithmetic(text: &str) -> Option<String> {
    if text.len() > 200 {
        return None;
    }
    let spaced: String = text
        .chars()
        .flat_map(|char| match char {
            '+' | '*' | '/' | '×' | '=' | '?' => vec![' ', char, ' '],
            _ => vec![char],
        })
        .collect();
    let words: Vec<&str> = spaced.split_whitespace().collect();
    words.windows(3).find_map(|three| {
        let [left, sign, right] = three else { return None };
        let (a, b) = (
            left.parse::<i64>().ok()?,
            right.trim_end_matches('.').parse::<i64>().ok()?,
        );
        let result = match *sign {
            "+" | "plus" => a.checked_add(b)?,
            "-" | "minus" => a.checked_sub(b)?,
            "*" | "×" | "x" | "times" => a.checked_mul(b)?,
            "/" if b != 0 && a % b == 0 => a / b,
            _ => return None,
        };
        Some(format!("{a} {sign} {b} is {result}."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gist(text: &str) -> Gist {
        let body = serde_json::json!({"messages": [{"role": "user", "content": text}]}).to_string();
        Gist::of(&ChatRequest::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn an_answer_takes_up_the_prompt_and_is_long_enough_to_stream() {
        for prompt in [
            "hi",
            "",
            "What is the capital of France?",
            "你好，世界",
            "What is 19 * 3?",
        ] {
            let answer = gist(prompt).answer(0);
            assert!(answer.contains(prompt) || prompt.contains('*'), "{answer}");
            assert!(answer.split_whitespace().count() >= 24, "{answer}");
        }
        assert!(gist("What is 19 * 3?").answer(0).contains("57"));
        assert_ne!(gist("one thing").answer(0), gist("another thing").answer(0));
        assert_ne!(gist("one thing").answer(0), gist("one thing").answer(1));
    }

    #[test]
    fn magic_words_are_not_repeated() {
        assert_eq!(gist("hello [[sim:stall=3]] world").asked, "hello  world");
        assert_eq!(gist("hello [[sim:stall=3").asked, "hello");
    }
}
