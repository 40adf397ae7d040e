//! The models that the simulated upstream offers: ids, aliases, what they accept, prices. Prices are in the API's own
//! unit, US cents per 100 million tokens, which is also ticks (1/10,000,000,000 USD) per token.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A model beside the built-in ones, as a scenario writes it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelOptions {
    /// Its id.
    pub id: String,
    /// Other names for it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Longest prompt, in tokens.
    #[serde(default = "default_context")]
    pub context: u64,
    /// Whether it thinks aloud.
    #[serde(default)]
    pub reasoning: bool,
    /// Whether it makes embeddings, and nothing else.
    #[serde(default)]
    pub embedding: bool,
    /// Ticks per prompt, cached and output token.
    #[serde(default = "default_price")]
    pub price: [u64; 3],
}

fn default_context() -> u64 {
    256_000
}

fn default_price() -> [u64; 3] {
    [12_500, 2_000, 25_000]
}

/// One model.
#[derive(Clone, Debug)]
pub struct Model {
    /// The resolved id, which answers carry.
    pub id: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// When it was published, Unix seconds.
    pub created: u64,
    /// Longest prompt, in tokens.
    pub context: u64,
    /// Ticks per prompt, cached and output token.
    pub price: [u64; 3],
    /// The same from the threshold (in prompt tokens) on.
    pub long: Option<(u64, [u64; 3])>,
    /// Whether it answers with `reasoning_content`.
    pub reasoning: bool,
    /// The `reasoning_effort` values it takes; the first is the default.
    pub efforts: &'static [&'static str],
    /// Whether it takes `stop`.
    pub stop: bool,
    /// Whether it takes penalties.
    pub penalties: bool,
    /// Whether it answers `logprobs` (the others ignore the wish).
    pub logprobs: bool,
    /// Whether `/v1/chat/completions` serves it.
    pub chat: bool,
    /// Whether it makes embeddings.
    pub embedding: bool,
    /// Whether it makes images or videos: listed, but without token prices.
    pub media: bool,
    /// `system_fingerprint` of its answers.
    pub fingerprint: String,
}

impl Model {
    fn text(id: &str, aliases: &[&str], created: u64, context: u64, price: [u64; 3]) -> Model {
        let hash = blake3::hash(id.as_bytes()).to_hex();
        Model {
            id: id.to_owned(),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            created,
            context,
            price,
            long: None,
            reasoning: true,
            efforts: &[],
            stop: false,
            penalties: false,
            logprobs: false,
            chat: true,
            embedding: false,
            media: false,
            fingerprint: format!("fp_{}", &hash[..10]),
        }
    }

    /// As `GET /v1/models` shows it.
    pub fn listed(&self) -> Value {
        let mut entry = json!({
            "id": self.id,
            "aliases": self.aliases,
            "object": "model",
            "created": self.created,
            "owned_by": "xai",
            "context_length": self.context,
        });
        if self.media {
            entry["image_price"] = json!(self.price[0]);
            return entry;
        }
        entry["prompt_text_token_price"] = json!(self.price[0]);
        entry["cached_prompt_text_token_price"] = json!(self.price[1]);
        entry["prompt_image_token_price"] = json!(self.price[0]);
        entry["completion_text_token_price"] = json!(self.price[2]);
        if let Some((threshold, price)) = self.long {
            entry["prompt_text_token_price_long_context"] = json!(price[0]);
            entry["cached_prompt_text_token_price_long_context"] = json!(price[1]);
            entry["completion_text_token_price_long_context"] = json!(price[2]);
            entry["long_context_threshold"] = json!(threshold);
        }
        if let Some(default) = self.efforts.first() {
            entry["capabilities"] = json!({"reasoning_effort": self.efforts, "default_reasoning_effort": default});
        }
        entry
    }

    /// As `GET /v1/language-models` shows it.
    pub fn described(&self) -> Value {
        let (threshold, long) = self.long.unwrap_or((0, [0; 3]));
        json!({
            "id": self.id,
            "fingerprint": self.fingerprint,
            "created": self.created,
            "object": "model",
            "owned_by": "xai",
            "version": "1.0",
            "input_modalities": ["text", "image"],
            "output_modalities": ["text"],
            "prompt_text_token_price": self.price[0],
            "cached_prompt_text_token_price": self.price[1],
            "prompt_image_token_price": self.price[0],
            "completion_text_token_price": self.price[2],
            "search_price": 0,
            "prompt_text_token_price_long_context": long[0],
            "cached_prompt_text_token_price_long_context": long[1],
            "completion_text_token_price_long_context": long[2],
            "long_context_threshold": threshold,
            "aliases": self.aliases,
        })
    }

    /// The price of a call in ticks. Reasoning is billed as output.
    pub fn cost(&self, prompt: u64, cached: u64, output: u64) -> u64 {
        let price = match self.long {
            Some((threshold, long)) if prompt >= threshold => long,
            _ => self.price,
        };
        prompt.saturating_sub(cached) * price[0] + cached * price[1] + output * price[2]
    }
}

/// All models, by id and alias.
#[derive(Debug)]
pub struct Models {
    list: Vec<std::sync::Arc<Model>>,
    by_name: HashMap<String, usize>,
}

impl Models {
    /// The built-in ones and these.
    pub fn new(extra: &[ModelOptions]) -> Models {
        let mut list = built_in();
        list.extend(extra.iter().map(|options| Model {
            reasoning: options.reasoning,
            chat: !options.embedding,
            embedding: options.embedding,
            stop: true,
            penalties: !options.reasoning,
            aliases: options.aliases.clone(),
            ..Model::text(&options.id, &[], 1_780_000_000, options.context, options.price)
        }));
        let mut by_name = HashMap::new();
        for (index, model) in list.iter().enumerate() {
            for alias in &model.aliases {
                by_name.insert(alias.clone(), index);
            }
            by_name.insert(model.id.clone(), index);
        }
        Models {
            list: list.into_iter().map(std::sync::Arc::new).collect(),
            by_name,
        }
    }

    /// The model of this id or alias.
    pub fn find(&self, name: &str) -> Option<&std::sync::Arc<Model>> {
        self.by_name.get(name).and_then(|index| self.list.get(*index))
    }

    /// All of them, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = &std::sync::Arc<Model>> {
        self.list.iter()
    }
}

/// Ids, prices and quirks as xAI's pages of autumn 2026 state them.
fn built_in() -> Vec<Model> {
    let big = [20_000, 5_000, 60_000];
    let long = Some((200_000, [40_000, 10_000, 120_000]));
    let mid = [12_500, 2_000, 25_000];
    let media = |id: &str, price: u64| Model {
        chat: false,
        media: true,
        reasoning: false,
        ..Model::text(id, &[], 1_769_472_000, 1_024, [price, 0, 0])
    };
    vec![
        Model {
            long,
            efforts: &["low", "none", "medium", "high", "xhigh"],
            ..Model::text(
                "grok-4.7",
                &["grok-4.7-latest", "grok-latest"],
                1_789_948_800,
                500_000,
                big,
            )
        },
        Model {
            long,
            efforts: &["low", "none", "medium", "high", "xhigh"],
            ..Model::text("grok-4.6", &["grok-4.6-latest"], 1_786_492_800, 500_000, big)
        },
        Model {
            long,
            efforts: &["low", "medium", "high"],
            ..Model::text(
                "grok-4.5",
                &["grok-4.5-latest", "grok-build-latest"],
                1_783_468_800,
                500_000,
                big,
            )
        },
        Model {
            stop: true,
            efforts: &["low", "none", "medium", "high"],
            ..Model::text(
                "grok-4.3",
                &[
                    "grok-4.3-latest",
                    "grok-4",
                    "grok-4-fast",
                    "grok-4-fast-reasoning",
                    "grok-4-fast-non-reasoning",
                    "grok-3",
                    "grok-code-fast-1",
                ],
                1_776_556_800,
                1_000_000,
                mid,
            )
        },
        Model {
            stop: true,
            ..Model::text(
                "grok-4.20-0309-reasoning",
                &["grok-4.20", "grok-4.20-reasoning", "grok-4.20-reasoning-latest"],
                1_773_014_400,
                1_000_000,
                mid,
            )
        },
        Model {
            stop: true,
            penalties: true,
            reasoning: false,
            ..Model::text(
                "grok-4.20-0309-non-reasoning",
                &["grok-4.20-non-reasoning", "grok-4.20-non-reasoning-latest"],
                1_773_014_400,
                1_000_000,
                mid,
            )
        },
        Model {
            chat: false,
            ..Model::text(
                "grok-4.20-multi-agent-0309",
                &["grok-4.20-multi-agent"],
                1_773_014_400,
                1_000_000,
                mid,
            )
        },
        Model {
            stop: true,
            ..Model::text("grok-build-0.1", &[], 1_779_000_000, 256_000, [10_000, 2_000, 20_000])
        },
        Model {
            logprobs: true,
            efforts: &["low", "high"],
            ..Model::text(
                "grok-3-mini",
                &["grok-3-mini-latest"],
                1_743_724_800,
                131_072,
                [3_000, 750, 5_000],
            )
        },
        media("grok-imagine-image", 200_000_000),
        media("grok-imagine-video", 500_000_000),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_is_what_a_recorded_answer_says() {
        let models = Models::new(&[]);
        let mini = models.find("grok-3-mini").unwrap();
        // Recorded: 12 prompt tokens of which 11 cached, 1 visible and 290 reasoning tokens.
        assert_eq!(mini.cost(12, 11, 291), 1_466_250);
        assert_eq!(mini.cost(12, 2, 229), 1_176_500);
    }

    #[test]
    fn an_alias_leads_to_its_model_and_long_prompts_cost_more() {
        let models = Models::new(&[]);
        assert_eq!(models.find("grok-4").unwrap().id, "grok-4.3");
        assert!(models.find("latest").is_none());
        let big = models.find("grok-4.7").unwrap();
        assert_eq!(big.cost(200_000, 0, 0), 200_000 * 40_000);
        assert_eq!(big.cost(199_999, 0, 0), 199_999 * 20_000);
    }
}
