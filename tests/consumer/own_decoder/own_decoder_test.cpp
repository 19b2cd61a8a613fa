// Every hook of a random parrot against a decoder in plain loops, and what the plugin says of a wrong configuration.
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include <wayfarer/error.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/random.hpp>
#include <wayfarer/testing.hpp>

#include "plain_decoder.hpp"

namespace wf = wayfarer;

namespace {

struct parrot {
  wf::test::plain_decoder plain;
  std::string folder, header, data;

  parrot() {
    auto& p = plain;
    p.D = 24, p.d = 6, p.rms = p.gated = false, p.norm_bias = p.parallel = p.pairs = true, p.epsilon = 1e-3, p.act = "gelu";
    p.turned = 2, p.thetas = {500, 500}, p.logit_scale = 0.25;
    std::string pattern = (std::filesystem::temp_directory_path() / "parrot-XXXXXX").string();
    folder = ::mkdtemp(pattern.data());
    wf::random_stream draw(1, "parrot");
    auto const make = [&](std::string const& part, std::size_t n, double sd, double mean = 0) {
      for (std::size_t i = 0; i < n; ++i) p.w[part].push_back(static_cast<float>(mean + sd * draw.normal()));
    };
    std::size_t const q = p.H * p.d, k = p.K * p.d, group = p.H / p.K;
    make("embed", p.V * p.D, 1), make("head", p.V * p.D, 0.3), make("final", p.D, 0.2, 1), make("final.bias", p.D, 0.2);
    store("tokens.weight", p.w["embed"], p.D), store("say.weight", p.w["head"], p.D);
    store("last.weight", p.w["final"]), store("last.bias", p.w["final.bias"]);
    for (std::size_t l = 0; l < p.L; ++l) {
      std::string const n = std::to_string(l) + ".", at = "perch." + n;
      make(n + "ln1", p.D, 0.2, 1), make(n + "ln1.bias", p.D, 0.2);
      for (auto const& [part, rows] : {std::pair{"q", q}, {"k", k}, {"v", k}})
        make(n + part, rows * p.D, 0.4), make(n + part + ".bias", rows, 0.3);
      make(n + "o", p.D * q, 0.3), make(n + "up", p.F * p.D, 0.3), make(n + "up.bias", p.F, 0.3),
          make(n + "down", p.D * p.F, 0.3);
      store(at + "calm.weight", p.w[n + "ln1"]), store(at + "calm.bias", p.w[n + "ln1.bias"]);
      for (std::size_t const width : {p.D, std::size_t{1}}) {  // of each head of the keys: its queries, the key, the value
        std::string const suffix = width == 1 ? ".bias" : "";
        std::vector<double> rows;
        for (std::size_t h = 0; h < p.K; ++h)
          for (auto const& [part, first, heads] :
               {std::tuple{"q", h * group, group}, {"k", h, std::size_t{1}}, {"v", h, std::size_t{1}}}) {
            auto const& v = p.w[n + part + suffix];
            auto const from = v.begin() + static_cast<std::ptrdiff_t>(first * p.d * width);
            rows.insert(rows.end(), from, from + static_cast<std::ptrdiff_t>(heads * p.d * width));
          }
        store(at + "listen.mix" + (width == 1 ? ".bias" : ".weight"), rows, width);
      }
      store(at + "listen.back.weight", p.w[n + "o"], q), store(at + "talk.close.weight", p.w[n + "down"], p.F);
      store(at + "talk.open.weight", p.w[n + "up"], p.D), store(at + "talk.open.bias", p.w[n + "up.bias"]);
    }
    header += std::string((8 - (header.size() + 2) % 8) % 8, ' ');
    std::string const whole = "{" + header.substr(1) + "}";
    std::uint64_t const length = whole.size();
    std::ofstream out(folder + "/model.safetensors", std::ios::binary);
    out.write(reinterpret_cast<char const*>(&length), sizeof length) << whole << data;
    configure("");
  }
  ~parrot() { std::filesystem::remove_all(folder); }

  void store(std::string const& name, std::vector<double> const& values, std::size_t columns = 1) {
    std::size_t const first = data.size();
    for (double const v : values) {
      auto const narrow = static_cast<float>(v);
      data.append(reinterpret_cast<char const*>(&narrow), sizeof narrow);
    }
    std::string const rows = std::to_string(values.size() / columns);
    header += ",\"" + name + "\":{\"dtype\":\"F32\",\"shape\":[" + rows + (columns > 1 ? "," + std::to_string(columns) : "") +
              "],\"data_offsets\":[" + std::to_string(first) + "," + std::to_string(data.size()) + "]}";
  }
  void configure(std::string const& more) const {
    std::ofstream(folder + "/config.json")
        << R"({"model_type": "parrot", "vocab_size": 29, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
              "hidden_size": 24, "intermediate_size": 14, "max_position_embeddings": 24, "partial_rotary_factor": 0.4,
              "calm_eps": 1e-3, "loudness": 0.25)"
        << more << "}";
  }
  std::unique_ptr<wf::model> open() const {
    auto m = wf::testing::make_plugin<wf::model>({{"path", folder}});
    m->load();
    return m;
  }
};

TEST(own_decoder, computes_every_hook_of_its_family) {
  parrot const bird;
  auto const m = bird.open();
  EXPECT_EQ(m->info().architecture, "parrot");
  EXPECT_TRUE(dynamic_cast<wf::pretrained const&>(*m).remarks().empty());
  std::vector<std::int32_t> const ids{3, 28, 0, 7, 7, 15, 2};
  wf::batch b;
  b.tokens.push_back(ids);
  wf::run_request request;
  request.capture = m->info().hooks_for("*");
  request.precision = wf::dtype::f64;
  auto const got = m->run(b, request);
  auto const want = bird.plain.run(ids);
  EXPECT_EQ(want.size(), m->info().hooks.size());
  for (auto const& h : m->info().hooks) {
    ASSERT_TRUE(want.contains(h.name)) << h.name;
    auto const x = got.at(h.name, 0).clone();
    auto const a = x.values<double const>();
    auto const& e = want.at(h.name);
    ASSERT_EQ(a.size(), e.size()) << h.name;
    for (std::size_t i = 0; i < e.size(); ++i)
      EXPECT_TRUE(a[i] == e[i] || std::abs(a[i] - e[i]) < 1e-9) << h.name << " at " << i << ": " << a[i] << " and " << e[i];
  }
}

TEST(own_decoder, refuses_and_tells_as_the_bundled_families_do) {
  parrot const bird;
  auto const said = [&](std::string const& more) -> std::string {
    bird.configure(more);
    try {
      auto const m = bird.open();
      auto const all = dynamic_cast<wf::pretrained const&>(*m).remarks();
      return all.empty() ? "" : all.front();
    } catch (wf::data_error const& e) {
      return e.what();
    }
  };
  EXPECT_NE(said(R"(, "loudness": -1)").find("loudness"), std::string::npos);
  EXPECT_NE(said(R"(, "sliding_window": 7)").find("sliding_window"), std::string::npos);
  EXPECT_NE(said(R"(, "feathers": "green")").find("feathers"), std::string::npos);
}

}  // namespace
