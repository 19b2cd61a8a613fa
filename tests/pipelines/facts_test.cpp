// What sources and models say of themselves reaches every node that is bound to it; and what a run says of values that are not
// finite.
#include <cmath>

#include <gmock/gmock.h>

#include "command.hpp"
#include "store/store.hpp"

using namespace wayfarer::test;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
namespace wf = wayfarer;

namespace {

constexpr char topics[] = R"(nodes:
  documents: {source: lda, documents: 300, split: train}
  development: {source: lda, documents: 100, split: dev}
  floor: {probe: bayes_floor, source: development}
  learner: {model: topic_transformer, regime: R2, loss: squared, masked_keys: included, train: {source: documents, held_out: development, updates: 20}}
  structure: {probe: topic_blocks, model: learner, source: documents}
  weights: {probe: topic_blocks, model: learner}
  theory: {metric: closed_form, of: structure/value}
  optimum: {probe: topic_theory, source: documents}
)";

struct facts : scratch {
  outcome wayfarer(std::string const& verb, std::string const& text, std::vector<std::string> const& settings = {},
                   std::vector<std::string> more = {}) const {
    std::vector<std::string> words{verb, file("p.yaml", text).string(), "--plugin-path", WAYFARER_TEST_PLUGIN_DIR};
    for (auto const& s : settings) words.insert(words.end(), {"--set", s});
    words.insert(words.end(), more.begin(), more.end());
    return run_wayfarer(std::move(words));
  }
  outcome check(std::string const& text, std::vector<std::string> const& settings = {}) const {
    return wayfarer("check", text, settings);
  }
  std::string out() const { return (folder / "r.h5").string(); }
  outcome run(std::string const& text, std::vector<std::string> const& settings = {}) const {
    return wayfarer("run", text, settings, {"--out", out()});
  }
  wf::dataset read(std::string const& node, std::string const& dataset) const {
    return wf::host::result_reader(out()).read(node, dataset);
  }
  std::string parameters(std::string const& node) const { return wf::host::result_reader(out()).node(node).parameters; }
};

TEST_F(facts, travel_from_the_source_to_whoever_needs_them) {
  auto const r = run(topics, {"documents.topics=5", "development.topics=5", "documents.words_per_topic=4",
                              "development.words_per_topic=4", "documents.alpha=2", "development.alpha=2", "learner.p_m=0.3"});
  ASSERT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(parameters("learner"), AllOf(HasSubstr("\"topics\":5"), HasSubstr("\"words_per_topic\":4")));
  // How the learner masks is known to who reads the learner's source and stands before it.
  EXPECT_THAT(parameters("floor"), AllOf(HasSubstr("\"alpha\":2.0"), HasSubstr("\"p_m\":0.3")));
  EXPECT_THAT(parameters("structure"), AllOf(HasSubstr("\"words_per_topic\":4"), HasSubstr("\"first_word\":4")));
  EXPECT_THAT(parameters("theory"), AllOf(HasSubstr("\"topics\":5"), HasSubstr("\"words_per_topic\":4"), HasSubstr("\"p_m\":0.3"),
                                          HasSubstr("\"topics_per_document\":0"), HasSubstr("\"alpha\":2.0")));
  EXPECT_THAT(wf::host::result_reader(out()).run_text("plan"), HasSubstr("\"topics\":5"));
  EXPECT_EQ(read("structure", "value_blocks").values().size("topic"), 5u);
  // Without a source of its own a probe has the model's word for it.
  EXPECT_EQ(read("weights", "value_blocks").values().size("topic"), 5u);
  EXPECT_EQ(read("weights", "value_same").values().get({0}), read("structure", "value_same").values().get({0}));
  // E theta_t^2 under Dirichlet(2) over five topics: (2 + 1) / (5 * 2 + 1) summed over topics.
  EXPECT_NEAR(read("theory", "irreducible_loss").scalar(), 1 - 3.0 / 11 / 4, 1e-12);
}

TEST_F(facts, are_contradicted_only_with_an_error_and_its_place) {
  for (std::string const wrong :
       {"learner.topics=10", "structure.words_per_topic=20", "weights.first_word=0", "floor.alpha=2",
        "floor.topics_per_document=3", "theory.topics=9", "theory.p_m=0.3", "theory.masked_keys=excluded", "floor.p_m=0.3",
        "floor.p_c=0", "floor.p_r=0.2", "optimum.p_m=0.3", "optimum.masked_keys=excluded"}) {
    auto const r = check(topics, {"documents.topics=5", "development.topics=5", wrong});
    EXPECT_EQ(r.code, 2) << wrong;
    EXPECT_THAT(r.out, AllOf(HasSubstr("--set " + wrong + ": "), HasSubstr("1 error;"), HasSubstr("leave it out to follow '")));
  }
  auto const said = check(std::string(topics) + "  late: {metric: closed_form, of: structure/value,\n    words_per_topic: 7}\n");
  EXPECT_EQ(said.code, 2);
  EXPECT_THAT(said.out,
              HasSubstr("p.yaml:11:5: late (closed_form): 'words_per_topic' is 7, but 10 in 'documents'; leave it out to "
                        "follow 'documents', or change it there"));
  EXPECT_EQ(check(topics, {"learner.topics=10", "floor.alpha=0.1"}).code, 0) << "the same value may be repeated";
}

TEST_F(facts, of_several_learners_are_told_apart) {
  std::string const two = std::string(topics) +
                          "  other: {model: topic_transformer, regime: R2, p_m: 0.3, train: {source: documents, updates: 20}}\n";
  auto const r = check(two);
  EXPECT_EQ(r.code, 2);
  // The other one's keys are excluded too, and its held-out set is none.
  EXPECT_THAT(r.out,
              AllOf(HasSubstr("optimum (topic_theory): its inputs have several values of 'p_m' (0.15 in 'learner' and 0.3 in "
                              "'other'); say which one is meant"),
                    HasSubstr("several values of 'masked_keys'"), HasSubstr("2 errors;")));
  EXPECT_EQ(check(two, {"optimum.p_m=0.3", "optimum.masked_keys=excluded"}).code, 0);
  EXPECT_EQ(check(two, {"optimum.p_m=0.2", "optimum.masked_keys=excluded"}).code, 2);
}

TEST_F(facts, on_which_inputs_disagree_are_an_error) {
  auto const r = check(topics, {"development.topics=5"});
  EXPECT_EQ(r.code, 2);
  EXPECT_THAT(r.out,
              AllOf(HasSubstr("p.yaml:5:3: learner (topic_transformer): its inputs disagree on 'topics': 10 in 'documents' "
                              "and 5 in 'development'; give them the same"),
                    HasSubstr("1 error;")));
  // A held-out set of another process is no error for the model; who needs to know which one is meant must be told.
  auto const alpha = check(topics, {"development.alpha=2"});
  EXPECT_EQ(alpha.code, 2);
  EXPECT_THAT(alpha.out, HasSubstr("theory (closed_form): its inputs have several values of 'alpha' (0.1 in 'documents' and 2 in "
                                   "'development'); say which one is meant"));
  EXPECT_EQ(check(topics, {"development.alpha=2", "theory.alpha=2"}).code, 0);
  EXPECT_EQ(check(topics, {"development.alpha=2", "theory.alpha=3"}).code, 2);
}

TEST_F(facts, hold_for_swept_values_too) {
  std::string const text = std::string(topics) + "  swept: {metric: closed_form, of: structure/value, sweep: {";
  EXPECT_EQ(check(text + "l2: [0, 0.1]}}\n").code, 0);
  auto const r = check(text + "topics: [10, 5]}}\n");
  EXPECT_EQ(r.code, 2);
  EXPECT_THAT(r.out, AllOf(HasSubstr("'topics' is 5, but 10 in 'documents'"), HasSubstr("1 error;")));
}

TEST_F(facts, of_a_file_are_what_it_says) {
  file("d.txt", "0 1 2 7 END\n3 3 5 END\n");
  file("words.txt", "a\nb\nc\nd\ne\nf\ng\nh\n");
  std::string const rest =
      "  learner: {model: topic_transformer, regime: R2, train: {source: documents, updates: 5}}\n"
      "  structure: {probe: topic_blocks, model: learner, source: documents}\n";
  auto const source = [](std::string const& more) {
    return "nodes:\n  documents: {source: documents, path: d.txt, format: reference" + more + "}\n";
  };
  ASSERT_EQ(run(source(", words_per_topic: 4, vocabulary: words.txt") + rest).code, 0);
  EXPECT_THAT(parameters("learner"), AllOf(HasSubstr("\"topics\":2"), HasSubstr("\"words_per_topic\":4")));
  // No list of words: how many topics there are, nobody knows.
  ASSERT_EQ(run(source(", words_per_topic: 4") + rest).code, 0);
  EXPECT_THAT(parameters("learner"), AllOf(HasSubstr("\"topics\":10"), HasSubstr("\"words_per_topic\":4")));
  EXPECT_EQ(read("structure", "value_blocks").values().size("topic"), 2u) << "words stand where the model has them";
}

TEST_F(facts, of_one_topic_leave_nothing_to_compare) {
  auto const r =
      run("nodes:\n  documents: {source: lda, documents: 5, topics: 1}\n"
          "  learner: {model: topic_transformer, regime: R2, train: {source: documents, updates: 1}}\n"
          "  structure: {probe: topic_blocks, model: learner, source: documents}\n");
  EXPECT_EQ(r.code, 2);
  EXPECT_THAT(r.out, HasSubstr("here is only one topic; give the source two `topics` or more"));
}

// Three settings: no model beats the floor, and a trained one comes near it.
TEST_F(facts, give_a_floor_that_models_approach_and_do_not_pass) {
  struct setting {
    char const *source, *model, *training;
    double floor, gap;  // the floor where it is known
  };
  for (auto const& s :
       {setting{"alpha: 2, length_min: 20, length_max: 30", "regime: R2", "updates: 1000", 4.504, 0.09},
        setting{"topics: 5", "regime: R4, init_scale: 0.01", "updates: 800, optimizer: adam, learning_rate: 0.01", 0, 0.04},
        // Every document shows all three of its topics: ln(3 * 5) whatever else it shows.
        setting{"topics_per_document: 3, topics: 8, words_per_topic: 5, length_min: 60, length_max: 90",
                "regime: R4, init_scale: 0.01", "updates: 1000, optimizer: adam, learning_rate: 0.01", std::log(15.0), 0.25}}) {
    std::string const of = s.source;
    auto const r = run("nodes:\n  documents: {source: lda, documents: 3000, split: train, " + of +
                       "}\n  development: {source: lda, documents: 3000, split: dev, " + of +
                       "}\n  floor: {probe: bayes_floor, source: development}\n  learner: {model: topic_transformer, " + s.model +
                       ", train: {source: documents, held_out: development, " + s.training + "}}\n");
    ASSERT_EQ(r.code, 0) << r.out;
    double const floor = read("floor", "cross_entropy").scalar(), error = read("floor", "cross_entropy_error").scalar();
    double const loss = read("learner", "final_held_out_loss").scalar();
    if (s.floor > 0) {
      EXPECT_NEAR(floor, s.floor, 4 * error + 1e-3) << of;
    }
    // Both have masks of their own, over the same documents.
    EXPECT_GE(loss, floor - 5 * error) << of;
    EXPECT_LE(loss, floor + s.gap) << of;
  }
}

struct gaps : facts {
  std::string text(std::string const& more) const {
    return "nodes:\n  documents: {source: lda, documents: 20}\n  counts: {probe: document_statistics, source: documents}\n  "
           "gaps: "
           "{metric: toy_gaps, of: counts" +
           more + "}\n";
  }
  std::vector<std::string> warnings() const {
    auto const all = wf::host::result_reader(out()).read("_run", "warnings");
    return all.texts();
  }
};

TEST_F(gaps, are_warned_of_where_nobody_explains_them) {
  auto const r = run(text(""));
  ASSERT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(warnings(), ElementsAre("gaps: gaps: 4 of 5 values are not finite (2 NaN), and the plugin does not say why",
                                      "gaps: single: 1 of 1 value is NaN, and the plugin does not say why"));
  EXPECT_THAT(r.out, AllOf(HasSubstr("warning: gaps: gaps: 4 of 5"), HasSubstr("2 datasets hold values that are not finite"),
                           HasSubstr("missing: gaps/infinite: 1 of 1 value is infinite: nothing to divide by")));
}

TEST_F(gaps, are_listed_with_their_reason) {
  auto const r = run(text(", explain: true, sweep: {scale: [1, .5]}"));
  ASSERT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(warnings(), IsEmpty());
  EXPECT_THAT(r.out,
              AllOf(HasSubstr("missing: gaps/gaps: 8 of 10 values are not finite (4 NaN): no such pair"),
                    HasSubstr("missing: gaps/single: 2 of 2 values are NaN: nobody knows"), Not(HasSubstr("does not say why"))));
  EXPECT_EQ(read("gaps", "gaps").missing(), "no such pair");
  EXPECT_EQ(read("gaps", "whole").missing(), "");
  auto const shown = run_wayfarer({"show", out(), "gaps"});
  EXPECT_THAT(shown.out, HasSubstr("missing: no such pair"));
}

TEST_F(gaps, of_bundled_probes_have_a_reason) {
  file("d.txt", "0 END\n1 END\n");
  auto const r =
      run("nodes:\n  documents: {source: documents, path: d.txt, format: reference, words_per_topic: 1}\n"
          "  counts: {probe: document_statistics, source: documents}\n"
          "  learner: {model: topic_transformer, regime: R2, words_per_topic: 1, topics: 2}\n"
          "  attention: {probe: topic_attention, model: learner, source: documents}\n"
          "  structure: {probe: topic_blocks, model: learner, source: documents}\n"
          "  contrast: {metric: group_contrast, of: attention, same: topic_average, different: non_topic_average}\n");
  ASSERT_EQ(r.code, 0) << r.out;
  EXPECT_THAT(warnings(), IsEmpty());
  EXPECT_THAT(
      r.out,
      AllOf(HasSubstr("missing: counts: 2 datasets (same_word_probability and same_topic_probability): 2 of 2 values are NaN: "
                      "no document has two words"),
            HasSubstr("missing: attention: 2 datasets (topic_average and topic_relative): 2 of 2 values are NaN: no document "
                      "has such a pair")));
}

}  // namespace
