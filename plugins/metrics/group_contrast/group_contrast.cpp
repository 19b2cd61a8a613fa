// How far two groups of numbers lie apart: the difference and the ratio of their means, with standard errors.
//
//     contrast: {metric: group_contrast, of: structure/value_blocks}                                  diagonal against the rest
//     contrast: {metric: group_contrast, of: attention, same: topic_average, different: non_topic_average}
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/ops.hpp>

namespace wf = wayfarer;

struct group_contrast final : wf::metric {
  explicit group_contrast(wf::config const& c) : same_(c["same"].text()), different_(c["different"].text()) {
    if (same_.empty() != different_.empty())
      throw wf::usage_error("group_contrast: name both 'same' and 'different', or neither");
  }

  void measure(wf::metric_input const& in, wf::results& out) const override {
    auto const [same, different] = groups(in);
    std::string const gap = "a group is empty, or holds a value that is missing", none = gap + ", or the second one's mean is 0";
    auto const a = wf::moments_of(same), b = wf::moments_of(different);
    double const ratio = a.mean / b.mean, error_a = a.standard_error(), error_b = b.standard_error();
    out.add("same", a.mean).about("mean of the first group").missing(gap);
    out.add("different", b.mean).about("mean of the second group").missing(gap);
    out.add("difference", a.mean - b.mean).about("mean of the first group less that of the second").missing(gap);
    out.add("ratio", ratio).about("mean of the first group over that of the second").missing(none);
    out.summarise("first group " + wf::told(a.mean) + ", second " + wf::told(b.mean) + ": difference " +
                  wf::told(a.mean - b.mean) + ", ratio " + wf::told(ratio));
    if (same.size() < 2 || different.size() < 2) return;  // one number has no standard error
    out.add("difference_standard_error", std::hypot(error_a, error_b))
        .about("standard error of the difference, the groups' members independent")
        .missing(gap);
    out.add("ratio_standard_error", std::hypot(error_a, ratio * error_b) / std::abs(b.mean))
        .about("standard error of the ratio, to first order")
        .missing(none);
  }

 private:
  struct pair {
    std::vector<double> same, different;
  };

  pair groups(wf::metric_input const& in) const {
    if (!same_.empty()) return {all_of(in.at("of", same_)), all_of(in.at("of", different_))};
    auto const& of = in.at("of");
    auto const& m = of.values();
    if (of.is_text() || m.rank() != 2 || m.size(0) != m.size(1) || m.size(0) < 2)
      throw wf::usage_error("group_contrast compares the diagonal of a square matrix with the rest, but 'of' is " +
                            wf::describe(of.shape()) + "; name two datasets by 'same' and 'different' instead");
    pair p;
    for (std::size_t i = 0; i < m.size(0); ++i)
      for (std::size_t j = 0; j < m.size(1); ++j) (i == j ? p.same : p.different).push_back(m.get({i, j}));
    return p;
  }

  static std::vector<double> all_of(wf::dataset const& d) {
    if (d.is_text()) throw wf::usage_error("group_contrast compares numbers, not texts");
    auto const own = d.values().to(wf::dtype::f64);
    auto const values = own.values<double const>();
    return {values.begin(), values.end()};
  }

  std::string same_, different_;
};

WAYFARER_METRIC(
    group_contrast, "1.0.0", "Difference and ratio of the means of two groups",
    wf::port::results("of", "a square matrix (diagonal against the rest), or a node whose datasets 'same' and 'different' name"),
    wf::param("same", "", "dataset of the first group"), wf::param("different", "", "dataset of the second group"));
