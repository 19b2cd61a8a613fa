// Configurations with the keys and values of published BERTs and BARTs: each opens, has nothing to warn of, and comes down to the
// sizes that its authors state.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <wayfarer/pretrained.hpp>

#include "golden_models.hpp"

namespace {

using namespace wayfarer;
using namespace wayfarer::test;

struct published {
  char const *name, *plugin;
  std::size_t layers, decoder_layers, heads, d_model, d_mlp, longest;
  std::size_t d_embed;  ///< of the token table
  char const* config;
};

published const all[] = {
    {"bert-base-uncased", "bert", 12, 0, 12, 768, 3072, 512, 768,
     R"({"architectures": ["BertForMaskedLM"], "attention_probs_dropout_prob": 0.1, "gradient_checkpointing": false, "hidden_act": "gelu",
     "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-12,
     "max_position_embeddings": 512, "model_type": "bert", "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 0,
     "position_embedding_type": "absolute", "transformers_version": "4.6.0.dev0", "type_vocab_size": 2, "use_cache": true,
     "vocab_size": 30522})"},
    {"bert-base-multilingual-cased", "bert", 12, 0, 12, 768, 3072, 512, 768,
     R"({"architectures": ["BertForMaskedLM"], "attention_probs_dropout_prob": 0.1, "directionality": "bidi", "hidden_act": "gelu",
     "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-12,
     "max_position_embeddings": 512, "model_type": "bert", "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 0,
     "pooler_fc_size": 768, "pooler_num_attention_heads": 12, "pooler_num_fc_layers": 3, "pooler_size_per_head": 128,
     "pooler_type": "first_token_transform", "type_vocab_size": 2, "vocab_size": 119547})"},
    {"roberta-base", "bert", 12, 0, 12, 768, 3072, 512, 768,
     R"({"architectures": ["RobertaForMaskedLM"], "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "eos_token_id": 2,
     "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072,
     "layer_norm_eps": 1e-05, "max_position_embeddings": 514, "model_type": "roberta", "num_attention_heads": 12,
     "num_hidden_layers": 12, "pad_token_id": 1, "type_vocab_size": 1, "vocab_size": 50265})"},
    {"xlm-roberta-base", "bert", 12, 0, 12, 768, 3072, 512, 768,
     R"({"architectures": ["XLMRobertaForMaskedLM"], "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "eos_token_id": 2,
     "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072,
     "layer_norm_eps": 1e-05, "max_position_embeddings": 514, "model_type": "xlm-roberta", "num_attention_heads": 12,
     "num_hidden_layers": 12, "output_past": true, "pad_token_id": 1, "position_embedding_type": "absolute",
     "transformers_version": "4.17.0.dev0", "type_vocab_size": 1, "use_cache": true, "vocab_size": 250002})"},
    {"albert-base-v1", "bert", 12, 0, 12, 768, 3072, 512, 128,
     R"({"architectures": ["AlbertForMaskedLM"], "attention_probs_dropout_prob": 0.1, "bos_token_id": 2, "classifier_dropout_prob": 0.1,
     "down_scale_factor": 1, "embedding_size": 128, "eos_token_id": 3, "gap_size": 0, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
     "hidden_size": 768, "initializer_range": 0.02, "inner_group_num": 1, "intermediate_size": 3072, "layer_norm_eps": 1e-12,
     "max_position_embeddings": 512, "model_type": "albert", "net_structure_type": 0, "num_attention_heads": 12, "num_hidden_groups": 1,
     "num_hidden_layers": 12, "num_memory_blocks": 0, "pad_token_id": 0, "type_vocab_size": 2, "vocab_size": 30000})"},
    {"albert-base-v2", "bert", 12, 0, 12, 768, 3072, 512, 128,
     R"({"architectures": ["AlbertForMaskedLM"], "attention_probs_dropout_prob": 0, "bos_token_id": 2, "classifier_dropout_prob": 0.1,
     "down_scale_factor": 1, "embedding_size": 128, "eos_token_id": 3, "gap_size": 0, "hidden_act": "gelu_new", "hidden_dropout_prob": 0,
     "hidden_size": 768, "initializer_range": 0.02, "inner_group_num": 1, "intermediate_size": 3072, "layer_norm_eps": 1e-12,
     "max_position_embeddings": 512, "model_type": "albert", "net_structure_type": 0, "num_attention_heads": 12, "num_hidden_groups": 1,
     "num_hidden_layers": 12, "num_memory_blocks": 0, "pad_token_id": 0, "type_vocab_size": 2, "vocab_size": 30000})"},
    {"albert-xxlarge-v2", "bert", 12, 0, 64, 4096, 16384, 512, 128,
     R"({"architectures": ["AlbertForMaskedLM"], "attention_probs_dropout_prob": 0, "bos_token_id": 2, "classifier_dropout_prob": 0.1,
     "down_scale_factor": 1, "embedding_size": 128, "eos_token_id": 3, "gap_size": 0, "hidden_act": "gelu_new", "hidden_dropout_prob": 0,
     "hidden_size": 4096, "initializer_range": 0.02, "inner_group_num": 1, "intermediate_size": 16384, "layer_norm_eps": 1e-12,
     "layers_to_keep": [], "max_position_embeddings": 512, "model_type": "albert", "net_structure_type": 0, "num_attention_heads": 64,
     "num_hidden_groups": 1, "num_hidden_layers": 12, "num_memory_blocks": 0, "pad_token_id": 0, "type_vocab_size": 2,
     "vocab_size": 30000})"},
    {"distilbert-base-uncased", "bert", 6, 0, 12, 768, 3072, 512, 768,
     R"({"activation": "gelu", "architectures": ["DistilBertForMaskedLM"], "attention_dropout": 0.1, "dim": 768, "dropout": 0.1,
     "hidden_dim": 3072, "initializer_range": 0.02, "max_position_embeddings": 512, "model_type": "distilbert", "n_heads": 12,
     "n_layers": 6, "pad_token_id": 0, "qa_dropout": 0.1, "seq_classif_dropout": 0.2, "sinusoidal_pos_embds": false,
     "tie_weights_": true, "transformers_version": "4.10.0.dev0", "vocab_size": 30522})"},
    {"distilroberta-base", "bert", 6, 0, 12, 768, 3072, 512, 768,
     R"({"architectures": ["RobertaForMaskedLM"], "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "eos_token_id": 2,
     "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072,
     "layer_norm_eps": 1e-05, "max_position_embeddings": 514, "model_type": "roberta", "num_attention_heads": 12, "num_hidden_layers": 6,
     "pad_token_id": 1, "type_vocab_size": 1, "vocab_size": 50265})"},
    {"electra-small-generator", "bert", 12, 0, 4, 256, 1024, 512, 128,
     R"({"architectures": ["ElectraForMaskedLM"], "attention_probs_dropout_prob": 0.1, "embedding_size": 128, "hidden_act": "gelu",
     "hidden_dropout_prob": 0.1, "hidden_size": 256, "initializer_range": 0.02, "intermediate_size": 1024, "layer_norm_eps": 1e-12,
     "max_position_embeddings": 512, "model_type": "electra", "num_attention_heads": 4, "num_hidden_layers": 12, "pad_token_id": 0,
     "summary_activation": "gelu", "summary_last_dropout": 0.1, "summary_type": "first", "summary_use_proj": true,
     "type_vocab_size": 2, "vocab_size": 30522})"},
    {"electra-base-discriminator", "bert", 12, 0, 12, 768, 3072, 512, 768,
     R"({"architectures": ["ElectraForPreTraining"], "attention_probs_dropout_prob": 0.1, "embedding_size": 768, "hidden_act": "gelu",
     "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-12,
     "max_position_embeddings": 512, "model_type": "electra", "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 0,
     "summary_activation": "gelu", "summary_last_dropout": 0.1, "summary_type": "first", "summary_use_proj": true,
     "type_vocab_size": 2, "vocab_size": 30522})"},
    {"bart-base", "bart", 6, 6, 12, 768, 3072, 1024, 768,
     R"({"_name_or_path": "bart-base", "activation_dropout": 0.1, "activation_function": "gelu", "add_bias_logits": false,
     "add_final_layer_norm": false, "architectures": ["BartModel"], "attention_dropout": 0.1, "bos_token_id": 0, "classif_dropout": 0.1,
     "classifier_dropout": 0.0, "d_model": 768, "decoder_attention_heads": 12, "decoder_ffn_dim": 3072, "decoder_layerdrop": 0.0,
     "decoder_layers": 6, "decoder_start_token_id": 2, "dropout": 0.1, "early_stopping": true, "encoder_attention_heads": 12,
     "encoder_ffn_dim": 3072, "encoder_layerdrop": 0.0, "encoder_layers": 6, "eos_token_id": 2, "forced_eos_token_id": 2,
     "forced_bos_token_id": 0, "gradient_checkpointing": false, "id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"},
     "init_std": 0.02, "is_encoder_decoder": true, "label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2},
     "max_position_embeddings": 1024, "model_type": "bart", "no_repeat_ngram_size": 3, "normalize_before": false,
     "normalize_embedding": true, "num_beams": 4, "num_hidden_layers": 6, "pad_token_id": 1, "scale_embedding": false,
     "task_specific_params": {"summarization": {"length_penalty": 1.0, "max_length": 128, "min_length": 12, "num_beams": 4}},
     "torch_dtype": "float32", "transformers_version": "4.12.0.dev0", "use_cache": true, "vocab_size": 50265})"},
    {"bart-large-cnn", "bart", 12, 12, 16, 1024, 4096, 1024, 1024,
     R"({"_num_labels": 3, "activation_dropout": 0.0, "activation_function": "gelu", "add_final_layer_norm": false,
     "architectures": ["BartForConditionalGeneration"], "attention_dropout": 0.0, "bos_token_id": 0, "classif_dropout": 0.0,
     "classifier_dropout": 0.0, "d_model": 1024, "decoder_attention_heads": 16, "decoder_ffn_dim": 4096, "decoder_layerdrop": 0.0,
     "decoder_layers": 12, "decoder_start_token_id": 2, "dropout": 0.1, "early_stopping": true, "encoder_attention_heads": 16,
     "encoder_ffn_dim": 4096, "encoder_layerdrop": 0.0, "encoder_layers": 12, "eos_token_id": 2, "force_bos_token_to_be_generated": true,
     "forced_bos_token_id": 0, "forced_eos_token_id": 2, "gradient_checkpointing": false, "id2label": {"0": "LABEL_0"},
     "init_std": 0.02, "is_encoder_decoder": true, "label2id": {"LABEL_0": 0}, "length_penalty": 2.0, "max_length": 142,
     "max_position_embeddings": 1024, "min_length": 56, "model_type": "bart", "no_repeat_ngram_size": 3, "normalize_before": false,
     "num_beams": 4, "num_hidden_layers": 12, "output_past": true, "pad_token_id": 1, "prefix": " ", "scale_embedding": false,
     "task_specific_params": {"summarization": {"early_stopping": true}}, "transformers_version": "4.7.0.dev0", "use_cache": true,
     "vocab_size": 50264})"},
    {"distilbart-cnn-12-6", "bart", 12, 6, 16, 1024, 4096, 1024, 1024,
     R"({"_num_labels": 3, "activation_dropout": 0.0, "activation_function": "gelu", "add_bias_logits": false,
     "add_final_layer_norm": false, "architectures": ["BartForConditionalGeneration"], "attention_dropout": 0.0, "bos_token_id": 0,
     "classif_dropout": 0.0, "d_model": 1024, "decoder_attention_heads": 16, "decoder_ffn_dim": 4096, "decoder_layerdrop": 0.0,
     "decoder_layers": 6, "decoder_start_token_id": 2, "dropout": 0.1, "early_stopping": true, "encoder_attention_heads": 16,
     "encoder_ffn_dim": 4096, "encoder_layerdrop": 0.0, "encoder_layers": 12, "eos_token_id": 2, "extra_pos_embeddings": 2,
     "force_bos_token_to_be_generated": true, "gradient_checkpointing": false, "id2label": {"0": "LABEL_0"}, "init_std": 0.02,
     "is_encoder_decoder": true, "label2id": {"LABEL_0": 0}, "length_penalty": 2.0, "max_length": 142, "max_position_embeddings": 1024,
     "min_length": 56, "model_type": "bart", "no_repeat_ngram_size": 3, "normalize_before": false, "normalize_embedding": true,
     "num_beams": 4, "num_hidden_layers": 12, "output_past": true, "pad_token_id": 1, "prefix": " ", "replacing_rate": 0,
     "scale_embedding": false, "static_position_embeddings": false, "student_decoder_layers": null, "student_encoder_layers": null,
     "task_specific_params": {"summarization": {"early_stopping": true}}, "vocab_size": 50264})"},
};

TEST(encoder_published, configurations_of_released_models_open_without_a_warning) {
  for (auto const& p : all) {
    SCOPED_TRACE(p.name);
    scratch_folder folder;
    write_text(folder.file("config.json"), p.config);
    try {
      auto const m = make<model>(p.plugin, {{"path", folder.path()}});
      auto const& info = m->info();
      EXPECT_EQ(info.layers, p.layers);
      EXPECT_EQ(info.decoder_layers, p.decoder_layers);
      EXPECT_EQ(info.heads, p.heads);
      EXPECT_EQ(info.d_model, p.d_model);
      EXPECT_EQ(info.d_mlp, p.d_mlp);
      EXPECT_EQ(info.longest, p.longest);
      EXPECT_EQ(info.find_hook("hook_embed")->row.at(0).size, p.d_embed);
      EXPECT_THAT(dynamic_cast<pretrained const&>(*m).remarks(), testing::IsEmpty());
    } catch (error const& e) {
      ADD_FAILURE() << e.what();
    }
  }
}

}  // namespace
