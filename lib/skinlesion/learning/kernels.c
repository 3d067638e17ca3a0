/* Batch norm, the activation behind it, and depthwise convolutions, over images with channels last: rows (the pixels of
 * all images) by channels, of float32 or, with -DBFLOAT16, of bfloat16. Training is bound by memory here, so what stands
 * in a row is done in one reading. Sums are taken over parts that do not depend on the number of threads and put
 * together in their order, so neither do the bits. A number that is not finite stays so. Every function returns 1 where
 * there was no memory for its sums, else 0. */
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

INLINE float from_bits(uint32_t bits) { float value; memcpy(&value, &bits, 4); return value; }
INLINE uint32_t to_bits(float value) { uint32_t bits; memcpy(&bits, &value, 4); return bits; }

#ifdef BFLOAT16
typedef uint16_t number;
INLINE float get(number value) { return from_bits((uint32_t)value << 16); }
INLINE number put(float value) { /* the nearest, of two the even one */
    uint32_t bits = to_bits(value);
    return (number)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
#else
typedef float number;
INLINE float get(number value) { return value; }
INLINE number put(float value) { return value; }
#endif

static float *zeros(int64_t count) {
    float *made = aligned_alloc(64, (count + 15) / 16 * 64);
    if (made) memset(made, 0, count * sizeof(float));
    return made;
}

int threads(void) { return omp_get_max_threads(); }

/* ---- Activations ---- */

enum { NONE, RELU, RELU6, HARDSWISH, SILU };
#define FOR_KIND(function, ...)                              \
    switch (kind) {                                          \
    case RELU: function(RELU, __VA_ARGS__); break;           \
    case RELU6: function(RELU6, __VA_ARGS__); break;         \
    case HARDSWISH: function(HARDSWISH, __VA_ARGS__); break; \
    case SILU: function(SILU, __VA_ARGS__); break;           \
    default: function(NONE, __VA_ARGS__);                    \
    }

INLINE float at_most(float value, float limit) { return value > limit ? limit : value; }
INLINE float at_least(float value, float limit) { return value < limit ? limit : value; }

INLINE float exponential(float value) { /* relative error below 3e-7 */
    float bounded = at_least(at_most(value, 87), -87), whole = rintf(bounded * 1.442695041f);
    float rest = bounded - whole * 0.693145752f - whole * 1.42860677e-6f;
    float series = 1 / 24.0f + rest * (1 / 120.0f + rest / 720);
    series = 1 + rest * (1 + rest * (0.5f + rest * (1 / 6.0f + rest * series)));
    return series * from_bits((uint32_t)((int32_t)whole + 127) << 23);
}

INLINE float activate(int kind, float z) {
    switch (kind) {
    case RELU: return at_least(z, 0);
    case RELU6: return at_most(at_least(z, 0), 6);
    case HARDSWISH: return z * at_most(at_least(z + 3, 0), 6) / 6;
    case SILU: return z / (1 + exponential(-z));
    default: return z;
    }
}

INLINE float slope(int kind, float z) { /* at the corners zero, as torch has it */
    switch (kind) {
    case RELU: return z > 0 ? 1 : 0;
    case RELU6: return (z > 0) & (z < 6) ? 1 : 0;
    case HARDSWISH: return z <= -3 ? 0 : z < 3 ? z / 3 + 0.5f : 1;
    case SILU: { float s = 1 / (1 + exponential(-z)); return s * (1 + z * (1 - s)); }
    default: return 1;
    }
}

/* ---- Batch norm ---- */

enum { GROUP = 8 }; /* rows whose sum stays in a register */
typedef struct { int64_t rows, width, size, count; } Chunks;

/* Rows in at most 256 chunks. Several rows of few channels count as one of many, `width`: what is in a row the processor
 * does at once. */
static Chunks cut(int64_t rows, int64_t channels) {
    int64_t width = channels;
    while (2 * width <= 512 && rows % 2 == 0) width *= 2, rows /= 2;
    int64_t size = rows / 256 < 64 ? 64 : (rows / 256 + GROUP - 1) / GROUP * GROUP;
    return (Chunks){rows, width, size, (rows + size - 1) / size};
}
static int64_t length(Chunks chunks, int64_t i) {
    int64_t left = chunks.rows - i * chunks.size;
    return left < chunks.size ? left : chunks.size;
}
static void repeat(float *into, const float *values, int64_t channels, int64_t width) {
    for (int64_t k = 0; k < width; k++) into[k] = values[k % channels];
}

/* Of each channel the sum, and the sum of squares, of the differences from the chunk's first row. */
static void add_up(const number *restrict x, int64_t rows, int64_t width, float *restrict sums) {
    float *restrict squares = sums + width;
    for (int64_t row = 0; row < rows; row += GROUP) {
        const number *restrict here = x + row * width;
        int64_t height = rows - row < GROUP ? rows - row : GROUP;
        if (height == GROUP)
            for (int64_t c = 0; c < width; c++) {
                float origin = get(x[c]), sum = 0, square = 0;
                for (int k = 0; k < GROUP; k++) {
                    float away = get(here[k * width + c]) - origin;
                    sum += away;
                    square += away * away;
                }
                sums[c] += sum;
                squares[c] += square;
            }
        else
            for (int64_t k = 0; k < height; k++)
                for (int64_t c = 0; c < width; c++) {
                    float away = get(here[k * width + c]) - get(x[c]);
                    sums[c] += away;
                    squares[c] += away * away;
                }
    }
}

/* Mean and 1 / deviation, and what they make of an image with weight and bias: `known` is (4, channels), mean, inverse,
 * scale, shift. The running statistics move. */
int statistics(const number *x, int64_t rows, int64_t channels, const float *weight, const float *bias,
               float *running_mean, float *running_variance, double momentum, double epsilon, float *known, int threads) {
    Chunks chunks = cut(rows, channels);
    int64_t width = chunks.width;
    float *sums = zeros(chunks.count * 2 * width);
    if (!sums) return 1;
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < chunks.count; i++)
            add_up(x + i * chunks.size * width, length(chunks, i), width, sums + i * 2 * width);
#pragma omp for schedule(static)
        for (int64_t c = 0; c < channels; c++) { /* put together as Chan, Golub and LeVeque, 1983 */
            double count = 0, centre = 0, spread = 0;
            for (int64_t i = 0; i < chunks.count; i++)
                for (int64_t k = c; k < width; k += channels) {
                    double size = length(chunks, i), sum = sums[i * 2 * width + k];
                    double square = sums[(i * 2 + 1) * width + k];
                    double away = get(x[i * chunks.size * width + k]) + sum / size - centre;
                    spread += square - sum * sum / size + away * away * count * size / (count + size);
                    count += size;
                    centre += away * size / count;
                }
            float inverse = 1 / sqrt(spread / count + epsilon), scale = weight[c] * inverse;
            known[c] = centre;
            known[channels + c] = inverse;
            known[2 * channels + c] = scale;
            known[3 * channels + c] = bias[c] - centre * scale;
            running_mean[c] += momentum * (centre - running_mean[c]);
            running_variance[c] += momentum * (spread / (count - 1) - running_variance[c]);
        }
    }
    free(sums);
    return 0;
}

INLINE void apply(int kind, const number *restrict x, number *restrict y, int64_t rows, int64_t width,
                  const float *restrict scale, const float *restrict shift) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t c = 0; c < width; c++)
            y[row * width + c] = put(activate(kind, get(x[row * width + c]) * scale[c] + shift[c]));
}

/* Chunks are taken from the last to the first: what `statistics` read last is still in the cache. */
int normalise(const number *x, number *y, int64_t rows, int64_t channels, const float *known, int kind, int threads) {
    Chunks chunks = cut(rows, channels);
    int64_t width = chunks.width;
    float *scale = zeros(2 * width), *shift = scale + width;
    if (!scale) return 1;
    repeat(scale, known + 2 * channels, channels, width);
    repeat(shift, known + 3 * channels, channels, width);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = chunks.count - 1; i >= 0; i--) {
        int64_t from = i * chunks.size * width;
        FOR_KIND(apply, x + from, y + from, length(chunks, i), width, scale, shift)
    }
    free(scale);
    return 0;
}

/* Of each channel the sum of the gradient in front of the activation, and of its product with x - mean. */
INLINE void add_up_back(int kind, const number *restrict x, const number *restrict dy, int64_t rows, int64_t width,
                        const float *restrict scale, const float *restrict shift, const float *restrict mean,
                        float *restrict sums) {
    float *restrict products = sums + width;
    for (int64_t row = 0; row < rows; row += GROUP) {
        const number *restrict here = x + row * width, *restrict given = dy + row * width;
        int64_t height = rows - row < GROUP ? rows - row : GROUP;
        if (height == GROUP)
            for (int64_t c = 0; c < width; c++) {
                float sum = 0, product = 0;
                for (int k = 0; k < GROUP; k++) {
                    float value = get(here[k * width + c]);
                    float g = get(given[k * width + c]) * slope(kind, value * scale[c] + shift[c]);
                    sum += g;
                    product += g * (value - mean[c]);
                }
                sums[c] += sum;
                products[c] += product;
            }
        else
            for (int64_t k = 0; k < height; k++)
                for (int64_t c = 0; c < width; c++) {
                    float value = get(here[k * width + c]);
                    float g = get(given[k * width + c]) * slope(kind, value * scale[c] + shift[c]);
                    sums[c] += g;
                    products[c] += g * (value - mean[c]);
                }
    }
}

/* dx may be dy. */
INLINE void apply_back(int kind, const number *restrict x, const number *dy, number *dx, int64_t rows, int64_t width,
                       const float *restrict scale, const float *restrict shift, const float *restrict slant,
                       const float *restrict offset) {
    for (int64_t row = 0; row < rows; row++)
#pragma omp simd
        for (int64_t c = 0; c < width; c++) {
            float value = get(x[row * width + c]);
            float g = get(dy[row * width + c]) * slope(kind, value * scale[c] + shift[c]);
            dx[row * width + c] = put(g * scale[c] + value * slant[c] + offset[c]);
        }
}

/* From `count` pairs of sums, each (2, width), the gradients of weight and bias, and what all other images of the batch
 * have to do with the gradient of one: it is g * scale + x * slant + offset. `gradients` is (2, channels). */
static void put_together(const float *sums, int64_t count, int64_t width, int64_t rows, int64_t channels,
                         const float *known, float *gradients, float *slant, float *offset) {
    for (int64_t c = 0; c < channels; c++) {
        double sum = 0, product = 0, inverse = known[channels + c], scale = known[2 * channels + c];
        for (int64_t i = 0; i < count; i++)
            for (int64_t k = c; k < width; k += channels) {
                sum += sums[i * 2 * width + k];
                product += sums[(i * 2 + 1) * width + k];
            }
        gradients[c] = product * inverse;
        gradients[channels + c] = sum;
        double away = -scale * inverse * inverse * product / rows;
        for (int64_t k = c; k < width; k += channels) {
            slant[k] = away;
            offset[k] = -scale * sum / rows - away * known[c];
        }
    }
}

int normalise_back(const number *x, const number *dy, number *dx, int64_t rows, int64_t channels, const float *known,
                   float *gradients, int kind, int threads) {
    Chunks chunks = cut(rows, channels);
    int64_t width = chunks.width;
    float *sums = zeros((2 * chunks.count + 5) * width), *mean = sums + 2 * chunks.count * width;
    float *scale = mean + width, *shift = scale + width, *slant = shift + width, *offset = slant + width;
    if (!sums) return 1;
    repeat(mean, known, channels, width);
    repeat(scale, known + 2 * channels, channels, width);
    repeat(shift, known + 3 * channels, channels, width);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < chunks.count; i++) {
            int64_t from = i * chunks.size * width;
            float *into = sums + i * 2 * width;
            FOR_KIND(add_up_back, x + from, dy + from, length(chunks, i), width, scale, shift, mean, into)
        }
#pragma omp single
        put_together(sums, chunks.count, width, rows, channels, known, gradients, slant, offset);
#pragma omp for schedule(static)
        for (int64_t i = chunks.count - 1; i >= 0; i--) {
            int64_t from = i * chunks.size * width;
            FOR_KIND(apply_back, x + from, dy + from, dx + from, length(chunks, i), width, scale, shift, slant, offset)
        }
    }
    free(sums);
    return 0;
}

/* ---- Depthwise convolution, each channel with a filter of its own ---- */

enum { LANES = 16 };
typedef float vector __attribute__((vector_size(4 * LANES)));

typedef struct {
    int64_t images, height, width, channels, side, stride, margin, out_height, out_width, depth;
    const float *known; /* of the batch norm in front, or none */
} Shape;

static Shape shape_of(int64_t images, int64_t height, int64_t width, int64_t channels, int64_t side, int64_t stride,
                      const float *known) {
    return (Shape){images, height, width, channels, side, stride, side / 2, (height - 1) / stride + 1,
                   (width - 1) / stride + 1, (channels + LANES - 1) / LANES * LANES, known};
}

/* A window of `side` rows that slides down one image, as float32 with zeros around it, its channels filled up to whole
 * vectors: row r lies in slot r mod `side`. */
static int64_t slot_size(Shape shape) { return (shape.width + 2 * shape.margin) * shape.depth; }
static float *slot(float *window, Shape shape, int64_t row) {
    return window + (row + shape.side) % shape.side * slot_size(shape);
}

static void read_row(float *restrict into, const number *restrict from, int64_t pixels, int64_t channels, int64_t depth) {
    if (channels == depth) channels = depth = pixels * channels, pixels = 1;
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t c = 0; c < channels; c++) into[p * depth + c] = get(from[p * channels + c]);
}
INLINE void read_normalised(int kind, float *restrict into, const number *restrict from, Shape shape) {
    const float *restrict scale = shape.known + 2 * shape.channels, *restrict shift = shape.known + 3 * shape.channels;
    for (int64_t p = 0; p < shape.width; p++)
        for (int64_t c = 0; c < shape.channels; c++)
            into[p * shape.depth + c] = activate(kind, get(from[p * shape.channels + c]) * scale[c] + shift[c]);
}
static void write_row(number *restrict into, const float *restrict from, int64_t pixels, int64_t channels, int64_t depth) {
    if (channels == depth) channels = depth = pixels * channels, pixels = 1;
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t c = 0; c < channels; c++) into[p * channels + c] = put(from[p * depth + c]);
}
/* Write the gradient in front of the activation, and add it up as `add_up_back` does. */
INLINE void write_back(int kind, number *restrict into, const float *restrict from, const number *restrict x, Shape shape,
                       float *restrict sums) {
    const float *restrict mean = shape.known, *restrict scale = mean + 2 * shape.channels;
    const float *restrict shift = mean + 3 * shape.channels;
    float *restrict products = sums + shape.channels;
    for (int64_t p = 0; p < shape.width; p++)
        for (int64_t c = 0; c < shape.channels; c++) {
            float value = get(x[p * shape.channels + c]);
            float g = from[p * shape.depth + c] * slope(kind, value * scale[c] + shift[c]);
            into[p * shape.channels + c] = put(g);
            sums[c] += g;
            products[c] += g * (value - mean[c]);
        }
}
static void fetch_row(const number *row, int64_t count) { /* have it on its way while others are computed */
    for (int64_t k = 0; k < count; k += 64 / sizeof(number)) __builtin_prefetch(row + k, 0, 2);
}
static void slide(float *window, const number *image, int64_t row, Shape shape, int kind) {
    int64_t count = shape.width * shape.channels;
    float *into = slot(window, shape, row) + shape.margin * shape.depth;
    if (row < 0 || row >= shape.height) memset(into, 0, shape.width * shape.depth * sizeof(float));
    else if (!shape.known) read_row(into, image + row * count, shape.width, shape.channels, shape.depth);
    else FOR_KIND(read_normalised, into, image + row * count, shape)
    if (row + 1 >= 0 && row + 1 < shape.height) fetch_row(image + (row + 1) * count, count);
}

#define FOR_FILTER(function, ...)                                          \
    if (shape.side == 3 && shape.stride == 1) function(3, 1, __VA_ARGS__); \
    else if (shape.side == 3) function(3, 2, __VA_ARGS__);                 \
    else if (shape.stride == 1) function(5, 1, __VA_ARGS__);               \
    else function(5, 2, __VA_ARGS__);

INLINE void convolve(int side, int stride, float *window, int64_t top, Shape shape, const float *filters, float *out) {
    int64_t depth = shape.depth;
    const float *rows[side];
    for (int i = 0; i < side; i++) rows[i] = slot(window, shape, top + i);
    for (int64_t c = 0; c < depth; c += LANES) {
        vector filter[side * side];
        for (int k = 0; k < side * side; k++) filter[k] = *(const vector *)(filters + k * depth + c);
        for (int64_t w = 0; w < shape.out_width; w++) {
            vector sum = {0};
            for (int i = 0; i < side; i++)
                for (int j = 0; j < side; j++)
                    sum += filter[i * side + j] * *(const vector *)(rows[i] + (w * stride + j) * depth + c);
            *(vector *)(out + w * depth + c) = sum;
        }
    }
}

/* One row of gradients: what it says of the filters is added to `sums`, what of the input to the window `given`. */
INLINE void convolve_back(int side, int stride, float *window, float *given, int64_t top, Shape shape,
                          const float *filters, const float *gradient, float *sums) {
    int64_t depth = shape.depth;
    for (int64_t c = 0; c < depth; c += LANES)
        for (int i = 0; i < side; i++) {
            const float *row = slot(window, shape, top + i) + c;
            float *into = slot(given, shape, top + i) + c;
            vector filter[side], sum[side], open[side]; /* open: sums for pixels to which more will come */
            for (int j = 0; j < side; j++) {
                filter[j] = *(const vector *)(filters + (i * side + j) * depth + c);
                sum[j] = *(const vector *)(sums + (i * side + j) * depth + c);
                open[j] = (vector){0};
            }
            for (int64_t w = 0; w < shape.out_width; w++) {
                vector g = *(const vector *)(gradient + w * depth + c);
                for (int j = 0; j < side; j++) {
                    sum[j] += g * *(const vector *)(row + (w * stride + j) * depth);
                    open[j] += g * filter[j];
                }
                for (int j = 0; j < stride; j++) *(vector *)(into + (w * stride + j) * depth) += open[j];
                for (int j = 0; j < side; j++) open[j] = j + stride < side ? open[j + stride] : (vector){0};
            }
            for (int j = 0; j < side - stride; j++) *(vector *)(into + (shape.out_width * stride + j) * depth) += open[j];
            for (int j = 0; j < side; j++) *(vector *)(sums + (i * side + j) * depth + c) = sum[j];
        }
}

static float *arrange(const float *weight, Shape shape) { /* (channels, side, side) as (side, side, depth) */
    int64_t taps = shape.side * shape.side;
    float *filters = zeros(taps * shape.depth);
    for (int64_t c = 0; filters && c < shape.channels; c++)
        for (int64_t k = 0; k < taps; k++) filters[k * shape.depth + c] = weight[c * taps + k];
    return filters;
}

/* Filters of 3×3 or 5×5 in the middle of their padding, stride 1 or 2; weight is float32 (channels, side, side). With
 * what `statistics` found, x is normalised and activated while it is read. */
int depthwise(const number *x, number *y, const float *weight, int64_t images, int64_t height, int64_t width,
              int64_t channels, int64_t side, int64_t stride, const float *known, int kind, int threads) {
    Shape shape = shape_of(images, height, width, channels, side, stride, known);
    int64_t own = side * slot_size(shape) + shape.out_width * shape.depth, out_row = shape.out_width * channels;
    float *filters = arrange(weight, shape), *room = zeros(threads * own);
    int failed = !filters || !room;
#pragma omp parallel for schedule(static) num_threads(threads) if (!failed)
    for (int64_t n = 0; n < (failed ? 0 : images); n++) {
        float *window = room + omp_get_thread_num() * own, *out = window + side * slot_size(shape);
        for (int64_t h = 0, next = -shape.margin; h < shape.out_height; h++) {
            int64_t top = h * stride - shape.margin;
            for (; next < top + side; next++) slide(window, x + n * height * width * channels, next, shape, kind);
            FOR_FILTER(convolve, window, top, shape, filters, out)
            write_row(y + (n * shape.out_height + h) * out_row, out, shape.out_width, channels, shape.depth);
        }
    }
    free(filters);
    free(room);
    return failed;
}

/* `gradients` is (2, channels), of the batch norm's weight and bias, where there is one. */
int depthwise_back(const number *x, const number *dy, number *dx, const float *weight, float *dweight, int64_t images,
                   int64_t height, int64_t width, int64_t channels, int64_t side, int64_t stride, const float *known,
                   float *gradients, int kind, int threads) {
    Shape shape = shape_of(images, height, width, channels, side, stride, known);
    int64_t room_row = side * slot_size(shape), own = 2 * room_row + shape.out_width * shape.depth;
    int64_t row = width * channels, out_row = shape.out_width * channels, taps = side * side;
    float *filters = arrange(weight, shape), *room = zeros(threads * own), *sums = zeros(images * taps * shape.depth);
    float *norms = zeros((2 * images + 2) * channels), *slant = norms + 2 * images * channels, *offset = slant + channels;
    int failed = !filters || !room || !sums || !norms;
#pragma omp parallel for schedule(static) num_threads(threads) if (!failed)
    for (int64_t n = 0; n < (failed ? 0 : images); n++) {
        float *window = room + omp_get_thread_num() * own, *given = window + room_row, *gradient = given + room_row;
        const number *image = x + n * height * row, *after = dy + n * shape.out_height * out_row;
        for (int64_t h = 0, next = -shape.margin, done = next; h < shape.out_height; h++) {
            int64_t top = h * stride - shape.margin;
            for (; next < top + side; next++) slide(window, image, next, shape, kind);
            read_row(gradient, after + h * out_row, shape.out_width, channels, shape.depth);
            if (h + 1 < shape.out_height) fetch_row(after + (h + 1) * out_row, out_row);
            FOR_FILTER(convolve_back, window, given, top, shape, filters, gradient, sums + n * taps * shape.depth)
            int64_t end = h + 1 < shape.out_height ? top + stride : top + side; /* no more comes to the rows before */
            for (; done < end; done++) {
                float *whole = slot(given, shape, done), *inside = whole + shape.margin * shape.depth;
                number *into = dx + (n * height + done) * row;
                if (done >= 0 && done < height) {
                    if (!known) write_row(into, inside, width, channels, shape.depth);
                    else FOR_KIND(write_back, into, inside, image + done * row, shape, norms + 2 * n * channels)
                }
                memset(whole, 0, slot_size(shape) * sizeof(float));
            }
        }
    }
    for (int64_t c = 0; c < (failed ? 0 : channels); c++)
        for (int64_t k = 0; k < taps; k++) {
            double sum = 0;
            for (int64_t n = 0; n < images; n++) sum += sums[(n * taps + k) * shape.depth + c];
            dweight[c * taps + k] = sum;
        }
    if (known && !failed) {
        put_together(norms, images, channels, images * height * width, channels, known, gradients, slant, offset);
        const float *scale = known + 2 * channels;
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int64_t n = images - 1; n >= 0; n--) {
            int64_t from = n * height * row;
            apply_back(NONE, x + from, dx + from, dx + from, height * width, channels, scale, scale, slant, offset);
        }
    }
    free(filters);
    free(room);
    free(sums);
    free(norms);
    return failed;
}
