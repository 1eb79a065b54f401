//! The financial suite that is part of the program: `recipes/tasks`.

/// File names and texts.
const FILES: &[(&str, &str)] = &[
    ("fpb.yaml", include_str!("../../recipes/tasks/fpb.yaml")),
    ("fiqa_sa.yaml", include_str!("../../recipes/tasks/fiqa_sa.yaml")),
    ("headline_dir.yaml", include_str!("../../recipes/tasks/headline_dir.yaml")),
    ("headline9.yaml", include_str!("../../recipes/tasks/headline9.yaml")),
    ("finred.yaml", include_str!("../../recipes/tasks/finred.yaml")),
    ("fomc.yaml", include_str!("../../recipes/tasks/fomc.yaml")),
    ("twitter_sentiment.yaml", include_str!("../../recipes/tasks/twitter_sentiment.yaml")),
    ("twitter_topic.yaml", include_str!("../../recipes/tasks/twitter_topic.yaml")),
    ("finer_cls.yaml", include_str!("../../recipes/tasks/finer_cls.yaml")),
    ("finarg_auc.yaml", include_str!("../../recipes/tasks/finarg_auc.yaml")),
    ("ma_completeness.yaml", include_str!("../../recipes/tasks/ma_completeness.yaml")),
    ("fincausal_sc.yaml", include_str!("../../recipes/tasks/fincausal_sc.yaml")),
    ("finarg_arc.yaml", include_str!("../../recipes/tasks/finarg_arc.yaml")),
    ("finqa.yaml", include_str!("../../recipes/tasks/finqa.yaml")),
    ("convfinqa.yaml", include_str!("../../recipes/tasks/convfinqa.yaml")),
    ("tatqa.yaml", include_str!("../../recipes/tasks/tatqa.yaml")),
    ("gsm8k.yaml", include_str!("../../recipes/tasks/gsm8k.yaml")),
    ("mmlu_econ_business.yaml", include_str!("../../recipes/tasks/mmlu_econ_business.yaml")),
    ("mmlu_pro_econ_business.yaml", include_str!("../../recipes/tasks/mmlu_pro_econ_business.yaml")),
    ("financebench.yaml", include_str!("../../recipes/tasks/financebench.yaml")),
    ("seen.yaml", include_str!("../../recipes/tasks/seen.yaml")),
    ("unseen.yaml", include_str!("../../recipes/tasks/unseen.yaml")),
    ("general.yaml", include_str!("../../recipes/tasks/general.yaml")),
];

/// The text of a file of the suite.
#[must_use]
pub(crate) fn file(name: &str) -> Option<&'static str> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The files of the suite, in order.
pub(crate) fn files() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}
