// Compares every kernel with a plain loop in double precision, for shapes that reach every tile,
// block and remainder, with 1, 2 and 4 threads, whose results must be the same to the bit.
//
// Results begin as NaN, so that what a kernel leaves out is noticed, between guards, so that what
// it writes elsewhere is. Under AddressSanitizer buffers end where their memory does instead.
#include "kernels.h"

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <thread>

using namespace resnet_jax;

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kGuard = 0;
#else
constexpr int64_t kGuard = 64;
#endif
constexpr float kGuardValue = 12345.0f;

int num_checks = 0;
std::string where;  // the case that is being tested

void require(bool condition, const std::string& what) {
  num_checks++;
  if (condition) return;
  std::printf("FAILED %s: %s\n", where.c_str(), what.c_str());
  std::exit(1);
}

// A float array of exactly `size` elements between guards.
class Array {
 public:
  explicit Array(int64_t size)
      : size(size), memory_(static_cast<float*>(std::malloc((size + 2 * kGuard) * sizeof(float)))) {
    std::fill(memory_, memory_ + size + 2 * kGuard, kGuardValue);
    std::fill(data(), data() + size, std::numeric_limits<float>::quiet_NaN());
  }
  Array(const Array&) = delete;
  ~Array() {
    for (int64_t i = 0; i < kGuard; i++) {
      require(memory_[i] == kGuardValue, "written in front of an array");
      require(memory_[kGuard + size + i] == kGuardValue, "written behind an array");
    }
    std::free(memory_);
  }
  float* data() const { return memory_ + kGuard; }
  float operator[](int64_t i) const { return data()[i]; }

  const int64_t size;

 private:
  float* memory_;
};

using Results = std::vector<std::unique_ptr<Array>>;

std::mt19937 engine(0);

void randomise(const Array& array) {
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < array.size; i++) array.data()[i] = normal(engine);
}

// Sums in double precision and the sums of absolute values, to which rounding errors relate.
struct Reference {
  explicit Reference(int64_t size) : sums(size), sizes(size) {}
  void add(int64_t i, double value) {
    sums[i] += value;
    sizes[i] += std::abs(value);
  }
  void compare(const Array& found, const std::string& name) const {
    for (int64_t i = 0; i < found.size; i++) {
      const double error = std::abs(found[i] - sums[i]);
      if (error <= 2e-6 * sizes[i] + 1e-30) continue;  // false for NaN
      require(false, name + "[" + std::to_string(i) + "] is " + std::to_string(found[i]) +
                         ", expected " + std::to_string(sums[i]));
    }
    num_checks++;
  }
  std::vector<double> sums, sizes;
};

Parallel threads(int count) {
  return [count](int64_t n, const std::function<void(int64_t)>& body) {
    std::atomic<int64_t> next{0};
    const auto work = [&] {
      for (int64_t item; (item = next++) < n;) body(item);
    };
    std::vector<std::thread> helpers;
    for (int i = 1; i < count; i++) helpers.emplace_back(work);
    work();
    for (std::thread& helper : helpers) helper.join();
  };
}

// Runs `kernel(parallel, results)` with 1, 2 and 4 threads into arrays of these sizes, requires
// equal bits, and hands the results to `check`.
template <class Kernel, class Check>
void run_all(const std::vector<int64_t>& sizes, const Kernel& kernel, const Check& check) {
  Results first;
  for (int count : {1, 2, 4}) {
    Results results;
    for (int64_t size : sizes) results.push_back(std::make_unique<Array>(size));
    kernel(threads(count), results);
    for (size_t i = 0; i < first.size(); i++) {
      const size_t bytes = first[i]->size * sizeof(float);
      require(std::memcmp(first[i]->data(), results[i]->data(), bytes) == 0,
              "other bits with " + std::to_string(count) + " threads");
    }
    if (first.empty()) first = std::move(results);
  }
  check(first);
}

// The arrays behind a formed gradient, and dz and dy in double precision.
struct Gradients {
  Gradients(int64_t pixels, int64_t channels, bool relu)
      : y(pixels * channels),
        out(y.size),
        dout(y.size),
        coef(3 * channels),
        dz(y.size),
        dy(y.size) {
    for (const Array* array : {&y, &out, &dout, &coef}) randomise(*array);
    for (int64_t i = 0; i < y.size; i++) {
      const int64_t c = i % channels;
      dz[i] = !relu || out[i] > 0 ? dout[i] : 0.0;
      dy[i] = coef[c] * dz[i] + coef[channels + c] * double{y[i]} + coef[2 * channels + c];
    }
    formed = {dout.data(), channels, y.data(), out.data(), coef.data(), relu};
  }
  Array y, out, dout, coef;
  std::vector<double> dz, dy;
  Source formed;
};

void test_conv(const ConvShape& s, bool relu) {
  where = "conv " + std::to_string(s.batch) + "x" + std::to_string(s.height) + "x" +
          std::to_string(s.width) + ", " + std::to_string(s.in_channels) + " -> " +
          std::to_string(s.out_channels) + ", stride " + std::to_string(s.stride);
  require(served(s), "not served");
  const int64_t ci = s.in_channels, co = s.out_channels;
  Array x(s.batch * s.in_size()), w(kTaps * ci * co);
  randomise(x);
  randomise(w);
  const Gradients g(s.batch * s.out_height() * s.out_width(), co, relu);
  Reference y(g.y.size), sums(2 * co), dx(x.size), dw(w.size), dx_formed(x.size), dw_formed(w.size);
  for (int64_t pixel = 0; pixel < g.y.size / co; pixel++) {
    const int64_t n = pixel / (s.out_height() * s.out_width());
    const int64_t h = pixel / s.out_width() % s.out_height(), v = pixel % s.out_width();
    for (int tap = 0; tap < kTaps; tap++) {
      const int64_t r = h * s.stride + tap / 3 - 1, q = v * s.stride + tap % 3 - 1;
      if (r < 0 || r >= s.height || q < 0 || q >= s.width) continue;
      for (int64_t i = 0; i < ci; i++) {
        const int64_t from = ((n * s.height + r) * s.width + q) * ci + i;
        for (int64_t o = 0; o < co; o++) {
          const int64_t weight = (tap * ci + i) * co + o, to = pixel * co + o;
          y.add(to, double{x[from]} * w[weight]);
          dx.add(from, double{g.dout[to]} * w[weight]);
          dw.add(weight, double{g.dout[to]} * x[from]);
          dx_formed.add(from, g.dy[to] * w[weight]);
          dw_formed.add(weight, g.dy[to] * x[from]);
        }
      }
    }
  }
  for (int64_t i = 0; i < g.y.size; i++) {
    sums.add(i % co, y.sums[i]);
    sums.add(co + i % co, y.sums[i] * y.sums[i]);
  }
  const Source stored = {g.dout.data(), co};
  run_all({g.y.size, 2 * co}, [&](const Parallel& parallel, const Results& to) {
    conv(parallel, s, x.data(), w.data(), to[0]->data(), to[1]->data());
  }, [&](const Results& found) {
    y.compare(*found[0], "y");
    sums.compare(*found[1], "sums");
  });
  run_all({w.size, w.size}, [&](const Parallel& parallel, const Results& to) {
    conv_filter_gradient(parallel, s, x.data(), stored, to[0]->data());
    conv_filter_gradient(parallel, s, x.data(), g.formed, to[1]->data());
  }, [&](const Results& found) {
    dw.compare(*found[0], "dw");
    dw_formed.compare(*found[1], "dw of a formed gradient");
  });
  if (!whole_vectors(ci)) return;
  run_all({x.size, x.size}, [&](const Parallel& parallel, const Results& to) {
    conv_input_gradient(parallel, s, stored, w.data(), to[0]->data());
    conv_input_gradient(parallel, s, g.formed, w.data(), to[1]->data());
  }, [&](const Results& found) {
    dx.compare(*found[0], "dx");
    dx_formed.compare(*found[1], "dx of a formed gradient");
  });
}

void test_elementwise(int64_t pixels, int64_t channels, bool relu) {
  where = std::to_string(pixels) + " pixels of " + std::to_string(channels) + " channels";
  const Gradients g(pixels, channels, relu);
  const int64_t size = g.y.size;
  Reference out(size), with_residual(size), dz(size);
  Reference reduced(2 * channels), sums(2 * channels);
  for (int64_t i = 0; i < size; i++) {
    const int64_t c = i % channels;
    const double y = g.y[i], value = y * g.coef[c] + g.coef[channels + c], sum = value + g.dout[i];
    out.add(i, relu ? std::max(value, 0.0) : value);
    with_residual.add(i, relu ? std::max(sum, 0.0) : sum);
    dz.add(i, g.dz[i]);
    reduced.add(c, g.dz[i]);
    reduced.add(channels + c, g.dz[i] * y);
    sums.add(c, y);
    sums.add(channels + c, y * y);
    for (Reference* inexact : {&out, &with_residual}) inexact->sizes[i] += 4;
  }
  run_all({size, size}, [&](const Parallel& parallel, const Results& to) {
    const float *y = g.y.data(), *coef = g.coef.data(), *residual = g.dout.data();
    norm_act(parallel, pixels, channels, y, coef, nullptr, relu, to[0]->data());
    norm_act(parallel, pixels, channels, y, coef, residual, relu, to[1]->data());
  }, [&](const Results& found) {
    out.compare(*found[0], "out");
    with_residual.compare(*found[1], "out with a residual");
  });
  const int64_t pair = 2 * channels;
  run_all({pair, pair, size, pair}, [&](const Parallel& parallel, const Results& to) {
    reduce(parallel, pixels, g.formed, to[0]->data(), nullptr);
    reduce(parallel, pixels, g.formed, to[1]->data(), to[2]->data());
    reduce(parallel, pixels, Source{g.y.data(), channels, g.y.data()}, to[3]->data(), nullptr);
  }, [&](const Results& found) {
    reduced.compare(*found[0], "reduced");
    reduced.compare(*found[1], "reduced while storing");
    dz.compare(*found[2], "dz");
    sums.compare(*found[3], "sums");
  });
}

// A run that has diverged must not look healthy again.
void test_nan() {
  where = "NaN";
  const ConvShape shape = {1, 4, 4, kLanes, kLanes, 1};
  Array x(shape.in_size()), w(kTaps * kLanes * kLanes), y(shape.out_size()), sums(2 * kLanes);
  Array out(y.size);
  randomise(x);
  randomise(w);
  x.data()[0] = std::numeric_limits<float>::quiet_NaN();
  conv(threads(1), shape, x.data(), w.data(), y.data(), sums.data());
  norm_act(threads(1), 16, kLanes, y.data(), w.data(), nullptr, true, out.data());
  require(std::isnan(y[0]) && std::isnan(sums[0]) && std::isnan(out[0]), "is lost");
  require(!std::isnan(y[15 * kLanes]) && !std::isnan(out[15 * kLanes]), "spreads");
}

void test_served() {
  where = "served";
  const ConvShape good = {2, 8, 8, 3, 2 * kLanes, 2};
  require(served(good), "the good shape");
  for (int64_t ConvShape::* field : {&ConvShape::batch, &ConvShape::height, &ConvShape::width,
                                     &ConvShape::in_channels, &ConvShape::out_channels,
                                     &ConvShape::stride}) {
    for (int64_t bad : {int64_t{0}, int64_t{-16}, int64_t{1} << 40}) {
      ConvShape shape = good;
      shape.*field = bad;
      require(!served(shape), "a size of " + std::to_string(bad));
    }
  }
  require(!served({2, 8, 8, 3, kLanes + 1, 1}), "channels that fill no vector");
  require(!served({2, 7, 8, 3, kLanes, 2}) && !served({2, 8, 7, 3, kLanes, 2}), "odd sizes");
  require(!served({2, 8, 8, 3, kLanes, 3}), "stride 3");
}

}  // namespace

int main() {
  const int64_t v = kLanes;
  const ConvShape shapes[] = {
      // Images of three channels and of one; channels that leave a rest; odd and even sizes.
      {3, 9, 11, 3, v, 1}, {2, 8, 6, 3, 2 * v, 2}, {5, 8, 8, 1, v, 1}, {2, 4, 4, 1, v, 2},
      {2, 5, 6, 2, v, 1}, {2, 6, 6, v + 3, v, 2}, {1, 4, 19, 2 * v + 1, v, 1},
      // Every form of tile, whole and with a rest.
      {2, 4, 32, v, v, 1}, {2, 3, 17, v, v, 1}, {2, 6, 8, v, 2 * v, 1}, {1, 7, 7, 2 * v, v, 1},
      {2, 4, 4, v, v, 1}, {2, 2, 2, v, v, 1}, {3, 3, 2, v, v, 1}, {2, 1, 1, v, v, 1},
      {2, 1, 5, v, v, 1}, {2, 5, 1, v, v, 1}, {1, 2, 70, v, v, 1},
      // Stride 2, down to one pixel.
      {2, 8, 32, v, v, 2}, {2, 6, 10, 2 * v, v, 2}, {2, 2, 2, v, 2 * v, 2}, {1, 14, 14, v, v, 2},
      // Batches that chunks and groups do not divide; kernels that are cut by output channels.
      {37, 2, 2, v, v, 1}, {19, 4, 4, v, v, 2}, {50, 3, 5, 3, v, 1}, {5, 4, 4, 128, 128, 1},
      {3, 8, 4, 128, 144, 2},
  };
  bool relu = true;
  for (const ConvShape& shape : shapes) test_conv(shape, relu = !relu);
  for (int64_t pixels : {1, 7, 300, 5000}) {
    for (int64_t channels : {v, 3 * v}) {
      for (bool relu : {false, true}) test_elementwise(pixels, channels, relu);
    }
  }
  test_nan();
  test_served();
  std::printf("ok: %d checks, vectors of %d\n", num_checks, kLanes);
  return 0;
}
