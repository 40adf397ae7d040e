//! Metrics by model: OpenTelemetry's GenAI conventions.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus::{Histogram, HistogramVec};

use super::families::{Families, PROVIDER};

/// The label of a model that is not in the catalogue: a client may send any name.
const OTHER: &str = "other";

/// What a call does, in the words of the convention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Chat completions, Responses, Messages.
    Chat,
    /// Images, videos, audio.
    GenerateContent,
    /// Embeddings.
    Embeddings,
}

impl Operation {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Operation::Chat => "chat",
            Operation::GenerateContent => "generate_content",
            Operation::Embeddings => "embeddings",
        }
    }
}

/// Handles for one model and operation. Series appear with their first value.
#[derive(Debug)]
pub struct ModelMetrics {
    families: Arc<ModelFamilies>,
    labels: [String; 3],
    input: std::sync::OnceLock<Histogram>,
    output: std::sync::OnceLock<Histogram>,
    duration: std::sync::OnceLock<Histogram>,
    first_token: std::sync::OnceLock<Histogram>,
}

#[derive(Debug)]
struct ModelFamilies {
    token_usage: HistogramVec,
    duration: HistogramVec,
    first_token: HistogramVec,
}

impl ModelMetrics {
    /// The label that stands for this model.
    pub fn label(&self) -> &str {
        &self.labels[2]
    }

    /// Tokens in and out, where the upstream said so: a missing count is not a zero.
    pub fn usage(&self, input: Option<u64>, output: Option<u64>) {
        if let Some(tokens) = input {
            self.input.get_or_init(|| self.tokens("input")).observe(tokens as f64);
        }
        if let Some(tokens) = output {
            self.output.get_or_init(|| self.tokens("output")).observe(tokens as f64);
        }
    }

    /// The whole call, in seconds.
    pub fn duration(&self, seconds: f64) {
        self.duration
            .get_or_init(|| self.families.duration.with_label_values(&self.labels))
            .observe(seconds);
    }

    /// From the request to the first event, in seconds.
    pub fn first_token(&self, seconds: f64) {
        self.first_token
            .get_or_init(|| self.families.first_token.with_label_values(&self.labels))
            .observe(seconds);
    }

    fn tokens(&self, kind: &str) -> Histogram {
        let [operation, provider, model] = &self.labels;
        self.families
            .token_usage
            .with_label_values(&[operation, provider, model, kind])
    }
}

type Table = HashMap<Box<str>, [Arc<ModelMetrics>; 3]>;

pub(super) struct ModelTable {
    families: Arc<ModelFamilies>,
    known: ArcSwap<Table>,
    other: [Arc<ModelMetrics>; 3],
    // One writer at a time; readers never wait.
    writer: Mutex<()>,
}

impl ModelTable {
    pub fn new(families: &Families) -> ModelTable {
        let families = Arc::new(ModelFamilies {
            token_usage: families.token_usage.clone(),
            duration: families.operation_duration.clone(),
            first_token: families.first_token.clone(),
        });
        ModelTable {
            other: handles(&families, OTHER),
            known: ArcSwap::default(),
            writer: Mutex::default(),
            families,
        }
    }

    pub fn get(&self, model: &str, operation: Operation) -> Arc<ModelMetrics> {
        let known = self.known.load();
        known.get(model).unwrap_or(&self.other)[operation as usize].clone()
    }

    pub fn set_known<I, S>(&self, models: I)
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let _writing = self.writer.lock();
        let before = self.known.load_full();
        let mut table = Table::new();
        for model in models {
            let model = model.as_ref();
            let entry = before
                .get(model)
                .cloned()
                .unwrap_or_else(|| handles(&self.families, model));
            table.insert(model.into(), entry);
        }
        self.known.store(Arc::new(table));
    }
}

fn handles(families: &Arc<ModelFamilies>, model: &str) -> [Arc<ModelMetrics>; 3] {
    [Operation::Chat, Operation::GenerateContent, Operation::Embeddings].map(|operation| {
        Arc::new(ModelMetrics {
            families: families.clone(),
            labels: [operation.as_str().to_owned(), PROVIDER.to_owned(), model.to_owned()],
            input: std::sync::OnceLock::new(),
            output: std::sync::OnceLock::new(),
            duration: std::sync::OnceLock::new(),
            first_token: std::sync::OnceLock::new(),
        })
    })
}
