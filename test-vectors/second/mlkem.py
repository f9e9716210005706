"""ML-KEM-768 (FIPS 203), in the names of that document. Slow, not constant-time, and with a memory for what it did."""

import hashlib
from functools import lru_cache

Q, N, K, ETA, DU, DV = 3329, 256, 3, 2, 10, 4

PUBLIC_LEN, CIPHERTEXT_LEN = 384 * K + 32, 32 * (DU * K + DV)


def _bit_reverse_7(number):
    return int(f"{number:07b}"[::-1], 2)


ZETAS = [pow(17, _bit_reverse_7(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * _bit_reverse_7(i) + 1, Q) for i in range(128)]


def G(data):
    digest = hashlib.sha3_512(data).digest()
    return digest[:32], digest[32:]


def Hash(data):
    return hashlib.sha3_256(data).digest()


def J(data):
    return hashlib.shake_256(data).digest(32)


def prf(seed, counter):
    return hashlib.shake_256(seed + bytes([counter])).digest(64 * ETA)


def byte_encode(f, d):
    """Algorithm 5."""
    return sum(value << d * i for i, value in enumerate(f)).to_bytes(32 * d, "little")


def byte_decode(data, d):
    """Algorithm 6; the values are not reduced, so that ek_is_valid can see which were too large."""
    number, mask = int.from_bytes(data, "little"), (1 << d) - 1
    return [number >> d * i & mask for i in range(N)]


def compress(f, d):
    return [((x << d + 1) + Q) // (2 * Q) % (1 << d) for x in f]


def decompress(f, d):
    return [(y * Q * 2 + (1 << d)) >> d + 1 for y in f]


def sample_ntt(seed, j, i):
    """Algorithm 7."""
    stream, coefficients, at = hashlib.shake_128(seed + bytes([j, i])).digest(3 * 504), [], 0
    while len(coefficients) < N:
        a, b, c = stream[at : at + 3]
        at += 3
        coefficients += [d for d in (a + 256 * (b % 16), b // 16 + 16 * c) if d < Q]
    return coefficients[:N]


def sample_cbd(data):
    """Algorithm 8 with eta 2."""
    number = int.from_bytes(data, "little")
    nibbles = [number >> 4 * i & 15 for i in range(N)]
    return [((n & 1) + (n >> 1 & 1) - (n >> 2 & 1) - (n >> 3)) % Q for n in nibbles]


def ntt(f):
    """Algorithm 9."""
    f, i, length = list(f), 1, 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            zeta, i = ZETAS[i], i + 1
            for j in range(start, start + length):
                t = zeta * f[j + length] % Q
                f[j + length], f[j] = (f[j] - t) % Q, (f[j] + t) % Q
        length //= 2
    return f


def ntt_inverse(f):
    """Algorithm 10."""
    f, i, length = list(f), 127, 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            zeta, i = ZETAS[i], i - 1
            for j in range(start, start + length):
                t = f[j]
                f[j], f[j + length] = (t + f[j + length]) % Q, zeta * (f[j + length] - t) % Q
        length *= 2
    return [x * 3303 % Q for x in f]


def multiply(f, g):
    """Algorithm 11."""
    h = []
    for i, gamma in enumerate(GAMMAS):
        a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        h += [(a0 * b0 + a1 * b1 % Q * gamma) % Q, (a0 * b1 + a1 * b0) % Q]
    return h


def add(*polynomials):
    return [sum(values) % Q for values in zip(*polynomials)]


def subtract(f, g):
    return [(a - b) % Q for a, b in zip(f, g)]


def dot(f, g):
    return add(*(multiply(a, b) for a, b in zip(f, g)))


@lru_cache(512)
def matrix(rho):
    """Row i, column j of A."""
    return [[sample_ntt(rho, j, i) for j in range(K)] for i in range(K)]


def kpke_keygen(d):
    """Algorithm 13."""
    rho, sigma = G(d + bytes([K]))
    a = matrix(rho)
    s = [ntt(sample_cbd(prf(sigma, n))) for n in range(K)]
    e = [ntt(sample_cbd(prf(sigma, K + n))) for n in range(K)]
    t = [add(dot(a[i], s), e[i]) for i in range(K)]
    return b"".join(byte_encode(p, 12) for p in t) + rho, b"".join(byte_encode(p, 12) for p in s)


def kpke_encrypt_1(rho, r):
    """The first part of algorithm 14, which needs only rho: the ciphertext's first 960 bytes, and y in NTT form."""
    a = matrix(rho)
    y = [ntt(sample_cbd(prf(r, n))) for n in range(K)]
    e1 = [sample_cbd(prf(r, K + n)) for n in range(K)]
    u = [add(ntt_inverse(dot([a[i][j] for i in range(K)], y)), e1[j]) for j in range(K)]
    return b"".join(byte_encode(compress(p, DU), DU) for p in u), y


def kpke_encrypt_2(t_bytes, y, m, r):
    """The second part of algorithm 14, which needs t: the ciphertext's last 128 bytes."""
    t = [[x % Q for x in byte_decode(t_bytes[384 * i : 384 * i + 384], 12)] for i in range(K)]
    e2 = sample_cbd(prf(r, 2 * K))
    v = add(ntt_inverse(dot(t, y)), e2, decompress(byte_decode(m, 1), 1))
    return byte_encode(compress(v, DV), DV)


def kpke_encrypt(ek, m, r):
    """Algorithm 14."""
    c1, y = kpke_encrypt_1(ek[384 * K :], r)
    return c1 + kpke_encrypt_2(ek[: 384 * K], y, m, r)


def kpke_decrypt(dk, c):
    """Algorithm 15."""
    u = [decompress(byte_decode(c[320 * i : 320 * i + 320], DU), DU) for i in range(K)]
    v = decompress(byte_decode(c[320 * K :], DV), DV)
    s = [byte_decode(dk[384 * i : 384 * i + 384], 12) for i in range(K)]
    w = subtract(v, ntt_inverse(dot(s, [ntt(p) for p in u])))
    return byte_encode(compress(w, 1), 1)


@lru_cache(512)
def keygen(seed):
    """Algorithm 16 of d | z: (ek, dk)."""
    d, z = seed[:32], seed[32:]
    ek, dk = kpke_keygen(d)
    return ek, dk + ek + Hash(ek) + z


def ek_is_valid(ek):
    """The type and modulus checks of section 7.2."""
    values = (x for i in range(K) for x in byte_decode(ek[384 * i : 384 * i + 384], 12))
    return len(ek) == PUBLIC_LEN and all(x < Q for x in values)


@lru_cache(512)
def encapsulate(ek, m):
    """Algorithm 17: (shared secret, ciphertext)."""
    shared, r = G(m + Hash(ek))
    return shared, kpke_encrypt(ek, m, r)


@lru_cache(512)
def decapsulate(dk, c):
    """Algorithm 18; a wrong ciphertext gives another secret and no error."""
    dk_pke, ek, h, z = dk[: 384 * K], dk[384 * K : 768 * K + 32], dk[768 * K + 32 : 768 * K + 64], dk[768 * K + 64 :]
    m = kpke_decrypt(dk_pke, c)
    shared, r = G(m + h)
    return shared if kpke_encrypt(ek, m, r) == c else J(z + c)
