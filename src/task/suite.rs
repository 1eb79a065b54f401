//! The financial suite that is part of the program: `recipes/tasks`.

/// File names and texts.
const FILES: &[(&str, &str)] = &[
    ("fpb.yml", include_str!("../../recipes/tasks/fpb.yml")),
    ("fiqa_sa.yml", include_str!("../../recipes/tasks/fiqa_sa.yml")),
    ("headline_dir.yml", include_str!("../../recipes/tasks/headline_dir.yml")),
    ("headline9.yml", include_str!("../../recipes/tasks/headline9.yml")),
    ("finred.yml", include_str!("../../recipes/tasks/finred.yml")),
    ("fomc.yml", include_str!("../../recipes/tasks/fomc.yml")),
    ("twitter_sentiment.yml", include_str!("../../recipes/tasks/twitter_sentiment.yml")),
    ("twitter_topic.yml", include_str!("../../recipes/tasks/twitter_topic.yml")),
    ("finer_cls.yml", include_str!("../../recipes/tasks/finer_cls.yml")),
    ("finarg_auc.yml", include_str!("../../recipes/tasks/finarg_auc.yml")),
    ("ma_completeness.yml", include_str!("../../recipes/tasks/ma_completeness.yml")),
    ("fincausal_sc.yml", include_str!("../../recipes/tasks/fincausal_sc.yml")),
    ("finarg_arc.yml", include_str!("../../recipes/tasks/finarg_arc.yml")),
    ("finqa.yml", include_str!("../../recipes/tasks/finqa.yml")),
    ("convfinqa.yml", include_str!("../../recipes/tasks/convfinqa.yml")),
    ("tatqa.yml", include_str!("../../recipes/tasks/tatqa.yml")),
    ("gsm8k.yml", include_str!("../../recipes/tasks/gsm8k.yml")),
    ("mmlu_econ_business.yml", include_str!("../../recipes/tasks/mmlu_econ_business.yml")),
    ("mmlu_pro_econ_business.yml", include_str!("../../recipes/tasks/mmlu_pro_econ_business.yml")),
    ("financebench.yml", include_str!("../../recipes/tasks/financebench.yml")),
    ("seen.yml", include_str!("../../recipes/tasks/seen.yml")),
    ("unseen.yml", include_str!("../../recipes/tasks/unseen.yml")),
    ("general.yml", include_str!("../../recipes/tasks/general.yml")),
];

/// The text of a file of the suite.
#[must_use]
pub fn file(name: &str) -> Option<&'static str> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The files of the suite, in order.
pub fn files() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}
