"""What settings of other trainers are called here, or why there is none: data, and nothing else.

Of ``run_ner.py``, Optimum's ``ORTTrainingArguments`` and transformers' ``TrainingArguments`` (of transformers 4 and 5)
every name is here that is not a setting of ours by the same name; of Flair, simpletransformers, spaCy and others the
usual ones.
"""

from __future__ import annotations

from typing import NamedTuple


class Counterpart(NamedTuple):
    """What stands here in the place of another trainer's setting."""

    setting: str = ""
    """Dotted name, or an option of the command line; "": there is none."""
    value: str = ""
    """What to write there, where that follows from the name."""
    note: str = ""
    """What else to know; where there is no setting, the reason."""

    def __str__(self) -> str:
        """As the last part of a message about a key."""
        if not self.setting:
            return f"leave it out: {self.note}"
        value = f": {self.value}" if self.value else ""
        return f"write {self.setting}{value}{f' ({self.note})' if self.note else ''}"

    def on_command_line(self) -> str:
        """As the last part of a message about an option."""
        if not self.setting:
            return str(self)
        written = self.setting if self.setting.startswith("-") else f"--config {self.setting}={self.value or '…'}"
        return f"write {written}{f' ({self.note})' if self.note else ''}"


def _none(names: str, reason: str) -> dict[str, Counterpart]:
    return {name: Counterpart(note=reason) for name in names.split()}


def _all(names: str, setting: str, value: str = "", note: str = "") -> dict[str, Counterpart]:
    return {name: Counterpart(setting, value, note) for name in names.split()}


_ADAMW = "the optimizer is AdamW, in 32 bits"
_VERB = "the verb says what is done: determined-ner train, predict or report"
_FOLDER = "all is written into the run's folder, which --output-dir names"
_ONCE = "data.push_to_hub uploads once, at the end of a run, to the branch main"
_LOGIN = "a token never stands in settings; set HF_TOKEN in the environment, or log in with: hf auth login"
_FROM_EPOCH = "once an epoch unless it is set"
_SLOTS = "start the command under torchrun, or ask for slots on a cluster"
_TOKEN = "set HF_TOKEN in the environment for private models"
_DEVICE = "the device is what the machine has; CUDA_VISIBLE_DEVICES chooses"
_PROGRESS = "progress is a bar on a terminal, and lines elsewhere"
_REPORTS = "reports go to metrics.jsonl, TensorBoard and, on a cluster, the web UI"
_PATIENCE = "hyperparameters.early_stopping_patience"
_LOSS = "the loss is the cross entropy, with class_weights and label_smoothing where they are set"
_DROPOUT = "dropout is what the encoder's own config says"
_FAST = "word boundaries need the tokenizer's own fast form"
_BATCH = "hyperparameters.global_batch_size"
_PER_DEVICE = "times devices and accumulation steps"
_CLASS = "the model is the encoder with one linear layer"
_WHOLE_MODEL = "each slot holds the whole model"
_COMPILE = "backend: compile compiles as a whole, by PyTorch's defaults"

FOREIGN: dict[str, dict[str, Counterpart]] = {
    "run_ner.py": {
        **_all("model_name_or_path", "hyperparameters.pretrained_model_name_or_path"),
        **_all("model_revision", "hyperparameters.revision"),
        **_none("token use_auth_token", _TOKEN),
        **_none("use_fast use_fast_tokenizer", _FAST),
        **_all("task_name", "hyperparameters.finetuning_task"),
        **_all("max_val_samples", "data.max_eval_samples"),
        **_all("max_test_samples", "data.max_predict_samples"),
        **_all("data_dir", "data.train_file", note="and validation_file and test_file, each with its path"),
        **_none("labels labels_file label_file labels_list", "labels are counted in the training data"),
    },
    "transformers.TrainingArguments": {
        **_all("output_dir", "--output-dir"),
        **_none("overwrite_output_dir", "a run never overwrites another; --resume goes on with one"),
        **_all("resume_from_checkpoint", "--resume", note="with the --output-dir of the run"),
        **_none("do_train do_eval do_predict", _VERB),
        **_all("per_device_train_batch_size per_gpu_train_batch_size", _BATCH, note=_PER_DEVICE),
        **_none(
            "per_device_eval_batch_size per_gpu_eval_batch_size eval_accumulation_steps auto_find_batch_size",
            "the batches of validation are of the size of those of training",
        ),
        **_all("gradient_accumulation_steps", "optimizations.aggregation_frequency"),
        **_all("warmup_steps", "hyperparameters.num_warmup_steps", note="a share of the training: warmup_ratio"),
        **_none("lr_scheduler_kwargs", "a schedule has its usual parameters"),
        **_none("optim_args optim_target_modules adafactor", _ADAMW),
        **_all("label_smoothing_factor", "hyperparameters.label_smoothing"),
        **_all("bf16", "hyperparameters.precision", "bf16"),
        **_all("fp16", "hyperparameters.precision", "fp16"),
        **_none("bf16_full_eval fp16_full_eval", "validation has the precision of training"),
        **_none("half_precision_backend fp16_backend", "precision is PyTorch's; use_apex_amp: true is Apex's"),
        **_all("fp16_opt_level", "hyperparameters.apex_opt_level", note="with use_apex_amp: true"),
        **_none("tf32", "PyTorch's defaults hold; precision: bf16 is faster"),
        **_none("jit_mode_eval use_ipex", "validation is computed as training is"),
        **_all("activation_checkpointing", "hyperparameters.gradient_checkpointing", "true"),
        **_none(
            "activation_checkpointing_kwargs gradient_checkpointing_kwargs",
            "gradient_checkpointing: true recomputes every layer",
        ),
        **_all("torch_compile", "hyperparameters.backend", "compile"),
        **_none("torch_compile_backend torch_compile_mode torchdynamo", _COMPILE),
        **_none("use_liger_kernel liger_kernel_config use_cache", "an encoder's layers are transformers' own"),
        **_none("neftune_noise_alpha", "embeddings get no noise"),
        **_none("torch_empty_cache_steps", "PyTorch keeps its memory"),
        **_none("average_tokens_across_devices", "every word weighs the same, on any number of slots"),
        **_all("logging_steps", "scheduling_unit", note="in batches"),
        **_all("logging_strategy", "scheduling_unit", note="in batches"),
        **_none("logging_dir", _FOLDER),
        **_none(
            "logging_first_step logging_nan_inf_filter log_on_each_node log_level log_level_replica "
            "include_num_input_tokens_seen include_tokens_per_second skip_memory_metrics debug "
            "tpu_metrics_debug",
            _REPORTS,
        ),
        **_none("disable_tqdm", _PROGRESS),
        **_none("project trackio_space_id trackio_bucket_id trackio_static_space_id", _REPORTS),
        **_all("run_name", "name"),
        **_all("eval_steps", "min_validation_period.batches", note=_FROM_EPOCH),
        **_all("eval_strategy evaluation_strategy", "min_validation_period", note=_FROM_EPOCH),
        **_none("eval_delay", "validation begins with the first period"),
        **_all("eval_on_start", "perform_initial_validation", "true"),
        **_none(
            "prediction_loss_only eval_do_concat_batches eval_use_gather_object include_for_metrics "
            "include_inputs_for_metrics batch_eval_metrics",
            "scores are counted batch by batch, without logits",
        ),
        **_all("save_steps", "min_checkpoint_period.batches", note=_FROM_EPOCH),
        **_all("save_strategy", "min_checkpoint_period", note=_FROM_EPOCH),
        **_all("save_total_limit", "checkpoint_storage.save_trial_latest", note="and save_trial_best"),
        **_none(
            "save_only_model save_on_each_node save_safetensors enable_jit_checkpoint",
            "a checkpoint is whole, in PyTorch's format; the model is written as safetensors",
        ),
        **_none("hub_token push_to_hub_token", _LOGIN),
        **_none("hub_strategy hub_always_push hub_revision", _ONCE),
        **_all("push_to_hub_model_id", "data.hub_model_id"),
        **_all("push_to_hub_organization", "data.hub_model_id", note="ORGANIZATION/NAME"),
        **_none("load_best_model_at_end", "model/ is always the best one"),
        **_all("metric_for_best_model", "searcher.metric"),
        **_all("greater_is_better", "searcher.smaller_is_better", note="which is its opposite"),
        **_none(
            "ignore_data_skip restore_callback_states_from_checkpoint",
            "a resumed run goes on where it stopped, bit for bit",
        ),
        **_none("full_determinism", "the same seed gives the same weights"),
        **_all("seed", "reproducibility.experiment_seed"),
        **_all("data_seed", "reproducibility.experiment_seed", note="of everything random"),
        **_none("no_cuda use_cpu use_mps_device", _DEVICE),
        **_none(
            "local_rank _n_gpu n_gpu tpu_num_cores ddp_backend ddp_timeout ddp_find_unused_parameters "
            "ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph ray_scope",
            _SLOTS,
        ),
        **_none(
            "fsdp fsdp_config fsdp_min_num_params fsdp_transformer_layer_cls_to_wrap deepspeed mp_parameters "
            "accelerator_config parallelism_config",
            _WHOLE_MODEL,
        ),
        **_none("dataloader_drop_last", "every sentence is trained on once an epoch"),
        **_none(
            "dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor "
            "dispatch_batches split_batches dataloader_multiprocessing_context dataloader_in_order",
            "batches are read from tokenized files, in the order of the plan",
        ),
        **_none(
            "remove_unused_columns past_index use_legacy_prediction_loop",
            "the columns are words and tags: data.text_column_name, data.label_column_name",
        ),
        **_all("train_sampling_strategy", "hyperparameters.group_by_length"),
        **_none("length_column_name", "lengths are counted"),
    },
    "Optimum's ORTTrainer": {
        **_all("inference_with_ort", "hyperparameters.evaluate_with_ort", "true"),
        **_none("use_module_with_loss loss_in_train", "PyTorch computes the loss, of words alone, behind the graph"),
        **_none("save_onnx onnx_prefix", "determined-ner export --onnx writes the graph of the trained model"),
        **_none("onnx_log_level", "of ONNX Runtime's messages, errors are shown"),
        **_none("sharded_ddp zero_stage zero_optimization", _WHOLE_MODEL),
    },
    "simpletransformers": {
        **_all("model_name", "hyperparameters.pretrained_model_name_or_path"),
        **_all("train_batch_size batch_size", _BATCH, note="over all slots and accumulation steps"),
        **_none("eval_batch_size", "the batches of validation are of the size of those of training"),
        **_all("manual_seed random_seed", "reproducibility.experiment_seed"),
        **_none(
            "evaluate_during_training evaluate_each_epoch",
            "validation is once an epoch unless min_validation_period says otherwise",
        ),
        **_all("evaluate_during_training_steps", "min_validation_period.batches", note=_FROM_EPOCH),
        **_none(
            "save_model_every_epoch save_eval_checkpoints",
            "min_checkpoint_period says how often, checkpoint_storage.save_trial_latest how many are kept",
        ),
        **_none("best_model_dir cache_directory tensorboard_dir", _FOLDER),
        **_none(
            "early_stopping_consider_epochs",
            "patience counts validations, which come every min_validation_period",
        ),
        **_all("use_early_stopping early_stopping", _PATIENCE, note="it is on where that is set"),
        **_all("early_stopping_delta", "hyperparameters.early_stopping_threshold"),
        **_all("early_stopping_metric early_stopping_metric_minimize", "searcher.metric"),
        **_all(
            "weight class_weight loss_weights", "hyperparameters.class_weights", note="by label or type, or balanced"
        ),
        **_none("loss_type loss_args", _LOSS),
        **_none(
            "custom_layer_parameters custom_parameter_groups train_custom_parameters_only",
            "parts have rates by layerwise_lr_decay and head_learning_rate, and freeze says which are not trained",
        ),
        **_all("classifier_learning_rate", "hyperparameters.head_learning_rate"),
        **_all("use_lora use_peft lora_r lora_rank", "hyperparameters.peft", "{r: 8}"),
        **_all("lora_alpha", "hyperparameters.peft", "{alpha: 16}"),
        **_all("lora_dropout", "hyperparameters.peft", "{dropout: 0.1}"),
        **_none("classification_report", "determined-ner report writes one"),
        **_none(
            "lazy_loading lazy_loading_start_line use_multiprocessing use_multiprocessing_for_evaluation "
            "multiprocessing_chunksize",
            "text of any size is read in bounded memory",
        ),
        **_all("process_count", "data.preprocessing_num_workers"),
        **_all("reprocess_input_data", "data.overwrite_cache"),
        **_none("use_cached_eval_features no_cache", "data.overwrite_cache: true reads and tokenizes again"),
        **_none("use_cuda cuda_device device gpu gpu_id gpus", _DEVICE),
        **_none("silent", _PROGRESS),
        **_none("wandb_project wandb_kwargs", _REPORTS),
        **_none("do_lower_case", "the tokenizer's own config says it"),
        **_none("special_tokens_list", "the vocabulary is the encoder's"),
        **_none("optimizer optimizer_type", _ADAMW),
        **_all("scheduler lr_scheduler", "hyperparameters.lr_scheduler_type"),
        **_none("polynomial_decay_schedule_power cosine_schedule_num_cycles", "a schedule has its usual parameters"),
        **_none(
            "adafactor_beta1 adafactor_clip_threshold adafactor_decay_rate adafactor_eps "
            "adafactor_relative_step adafactor_scale_parameter adafactor_warmup_init",
            _ADAMW,
        ),
        **_none("encoding", "files are UTF-8"),
        **_none("model_class model_type architecture", _CLASS),
        **_all("sliding_window", "data.stride", note="text beyond max_seq_length is always read"),
    },
    "Flair": {
        **_all("dev_file", "data.validation_file"),
        **_all("data_folder", "data.train_file", note="and validation_file and test_file, each with its path"),
        **_all("base_path", "--output-dir"),
        **_all("mini_batch_size", _BATCH, note="over all slots and accumulation steps"),
        **_all("mini_batch_chunk_size", "optimizations.aggregation_frequency", note="mini_batch_size divided by it"),
        **_all("max_epochs epochs num_epochs n_epochs n_iter", "hyperparameters.num_train_epochs"),
        **_all("lr", "hyperparameters.learning_rate"),
        **_all("warmup_fraction warmup_proportion", "hyperparameters.warmup_ratio"),
        **_all("patience", _PATIENCE, note="it ends the run, and leaves the learning rate to its schedule"),
        **_none(
            "initial_extra_patience anneal_factor anneal_with_restarts min_learning_rate",
            "the learning rate follows lr_scheduler_type, whatever the scores are",
        ),
        **_none("train_with_dev train_with_test", "a pattern such as '*.conll' in data.train_file takes several files"),
        **_none(
            "monitor_train monitor_test monitor_train_sample",
            "determined-ner report RUN --data FILE scores any labelled file",
        ),
        **_all("main_evaluation_metric", "searcher.metric"),
        **_none("shuffle", "batches are always shuffled"),
        **_none(
            "embeddings_storage_mode fine_tune use_rnn rnn_layers rnn_type hidden_size hidden_width "
            "reproject_embeddings embeddings word_embeddings",
            _CLASS,
        ),
        **_all("use_crf crf", "hyperparameters.head", "crf"),
        **_all("decoder_lr_factor", "hyperparameters.head_learning_rate", note="learning_rate times that factor"),
        **_none("dropout word_dropout locked_dropout hidden_dropout_prob drop", _DROPOUT),
        **_none("save_final_model use_final_model_for_eval", "model/ is always the best one"),
        **_all("column_format", "data.text_column_name", note="and data.label_column_name, by number or name"),
        **_all("tag_type label_type", "data.label_column_name"),
        **_none(
            "tag_dictionary label_dictionary label2id id2label tag_format",
            "labels and their scheme are found in the training data",
        ),
        **_none("num_workers", "batches are read from tokenized files; data.preprocessing_num_workers tokenize"),
        **_all("use_amp amp mixed_precision", "hyperparameters.precision", note="bf16 or fp16"),
        **_all("gradient_clipping max_gradient_norm clip_grad_norm grad_clip", "hyperparameters.max_grad_norm"),
    },
    "spaCy": {
        **_all("train train_path train_data train_corpus", "data.train_file"),
        **_all("dev dev_path dev_data dev_corpus eval_file valid_file val_file", "data.validation_file"),
        **_all("test_path test_data", "data.test_file"),
        **_all("eval_frequency", "min_validation_period.batches", note=_FROM_EPOCH),
        **_all("accumulate_gradient", "optimizations.aggregation_frequency"),
        **_none("gpu_allocator use_gpu", _DEVICE),
        **_all("frozen_components", "hyperparameters.freeze", note="embeddings, encoder, or a number of layers"),
        **_none("score_weights", "searcher.metric names the one that the best model is chosen by"),
        **_none("nlp pipeline components lang vectors init_tok2vec", _CLASS),
        **_all("training trainer train_args training_args", "hyperparameters", note="what stands in it, each by name"),
    },
    "Other trainers": {
        **_all(
            "model encoder base_model pretrained_model transformer bert_model",
            "hyperparameters.pretrained_model_name_or_path",
        ),
        **_all("tokenizer", "hyperparameters.tokenizer_name"),
        **_all("teacher_name_or_path teacher_model_name_or_path teacher_model", "hyperparameters.teacher"),
        **_all("num_student_layers student_num_layers", "hyperparameters.student_layers"),
        **_all(
            "alpha_ce kd_loss_weight kd_weight", "hyperparameters.distillation_weight", note="the label has the rest"
        ),
        **_none("hard_label_weight alpha_squad", "the label counts 1 - distillation_weight"),
        **_all("kd_temperature temperature", "hyperparameters.distillation_temperature"),
        **_all("max_len max_sequence_length maxlen model_max_length seq_length", "data.max_seq_length"),
        **_all("doc_stride", "data.stride"),
        **_all("max_time time_budget max_train_time max_seconds", "hyperparameters.time_limit", note="in seconds"),
        **_all("dataset", "data.dataset_name"),
        **_all("adam_eps eps epsilon", "hyperparameters.adam_epsilon"),
        **_none("correct_bias bias_correction", "AdamW always corrects its bias"),
        **_all("encoder_learning_rate encoder_lr", "hyperparameters.learning_rate"),
        **_all("classifier_lr head_lr decoder_learning_rate decoder_lr", "hyperparameters.head_learning_rate"),
        **_all(
            "llrd layer_lr_decay layer_decay layerwise_learning_rate_decay layerwise_decay lr_layer_decay",
            "hyperparameters.layerwise_lr_decay",
        ),
        **_all("freeze_encoder freeze_bert freeze_base_model", "hyperparameters.freeze", "encoder"),
        **_all("freeze_embeddings", "hyperparameters.freeze", "embeddings"),
        **_all(
            "freeze_layers frozen_layers num_frozen_layers num_freeze_layers frozen",
            "hyperparameters.freeze",
            note="how many of the lowest layers",
        ),
        **_all(
            "validation_split val_split valid_size test_size", "data.validation_split_percentage", note="in per cent"
        ),
        **_all("train_files", "data.train_file", note="a glob takes several"),
        **_all("validation_files", "data.validation_file", note="a glob takes several"),
        **_all("test_files", "data.test_file", note="a glob takes several"),
        **_all("slots num_gpus nproc_per_node world_size", "resources.slots_per_trial"),
        **_all("num_steps total_steps max_train_steps", "hyperparameters.max_steps"),
        **_all("text_column word_column tokens_column token_column", "data.text_column_name"),
        **_all("label_column tag_column tags_column", "data.label_column_name"),
    },
    "Determined's model_hub": {
        **_none("model_mode", "this trial does token classification only"),
        **_none("num_labels", "labels are counted in the training data"),
        **_none("num_training_steps", "the length of the training is max_steps or num_train_epochs"),
        **_none("scale_parameter relative_step", _ADAMW),
        **_none("records_per_epoch", "an epoch is what the training data holds"),
    },
}
"""By trainer, in the order in which the how-to page on migrating shows them. No name stands twice."""

COUNTERPARTS = {name: counterpart for names in FOREIGN.values() for name, counterpart in names.items()}
"""By name."""

_TORCH = "write adamw_torch, which is one kernel where PyTorch has one"
OPTIMIZERS = {
    **dict.fromkeys(
        "adamw_hf adamw_torch_fused adamw_apex_fused adamw_torch_xla adamw_torch_npu_fused adamw adam".split(), _TORCH
    ),
    **dict.fromkeys(
        "adafactor adagrad sgd rmsprop ademamix lomo adalomo grokadamw stable_adamw adamw_anyprecision adamw_8bit "
        "adamw_bnb_8bit adamw_torch_4bit adamw_torch_8bit ademamix_8bit lion_8bit lion_32bit paged_adamw_32bit "
        "paged_adamw_8bit paged_ademamix_32bit paged_ademamix_8bit paged_lion_32bit paged_lion_8bit rmsprop_bnb "
        "rmsprop_bnb_8bit rmsprop_bnb_32bit galore_adamw galore_adamw_8bit galore_adafactor galore_adamw_layerwise "
        "galore_adamw_8bit_layerwise galore_adafactor_layerwise schedule_free_radam schedule_free_adamw "
        "schedule_free_sgd apollo_adamw apollo_adamw_layerwise".split(),
        f"{_ADAMW}; write adamw_torch",
    ),
}
"""Values of ``optim`` in transformers that are none here, and what to do."""

METRIC_NAMES = {
    **dict.fromkeys("ents_f micro_f1 f1_micro f_score fscore f_measure entity_f1".split(), "f1"),
    **dict.fromkeys("ents_p micro_precision".split(), "precision"),
    **dict.fromkeys("ents_r micro_recall".split(), "recall"),
    **dict.fromkeys("acc token_accuracy token_acc".split(), "accuracy"),
    **dict.fromkeys("strict_f1 f1_score_strict".split(), "f1_strict"),
    **dict.fromkeys("cross_entropy cross_entropy_loss".split(), "loss"),
}
"""Names of metrics elsewhere, less what `METRIC_AFFIXES` takes away, by those here."""
METRIC_AFFIXES = (
    (
        "^",
        ("eval_", "val_", "valid_", "validation_", "dev_", "test_", "overall_", "seqeval_", "metrics_", "micro_avg_"),
        "",
    ),
    ("", ("_score", "_micro", "_overall"), "$"),
)
"""What stands before and behind a metric's name elsewhere, once or several times."""
