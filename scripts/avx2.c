/*
 * Shows programs a processor without AVX-512, AVX-VNNI and AMX, so that ONNX Runtime takes its AVX2 kernels: float32 sums come in
 * another order there, and tests must hold for every order. For Linux on Intel processors that can let CPUID fault (cpuid_fault in
 * /proc/cpuinfo):
 *
 *     cc -shared -fPIC -O1 -o avx2.so scripts/avx2.c && LD_PRELOAD=$PWD/avx2.so npm test
 *
 * ONNX Runtime asks CPUID itself and has no setting for it. Here CPUID faults, and the handler answers with the bits cleared.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static struct sigaction chained;

static int faulting(int on) { return syscall(SYS_arch_prctl, ARCH_SET_CPUID, !on); }

static void answer(int number, siginfo_t *info, void *context) {
  greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *at = (const unsigned char *)r[REG_RIP];
  /* a fault at another address may lie on a page that cannot be read */
  if (info->si_code != SI_KERNEL || at[0] != 0x0f || at[1] != 0xa2) {
    if (chained.sa_flags & SA_SIGINFO) {
      chained.sa_sigaction(number, info, context);
      return;
    }
    if (chained.sa_handler != SIG_DFL && chained.sa_handler != SIG_IGN) {
      chained.sa_handler(number);
      return;
    }
    signal(SIGSEGV, SIG_DFL);
    return;
  }
  unsigned leaf = r[REG_RAX], sub = r[REG_RCX], a, b, c, d;
  faulting(0);
  __cpuid_count(leaf, sub, a, b, c, d);
  faulting(1);
  if (leaf == 7 && sub == 0) {
    b &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31); /* AVX512 F DQ IFMA PF ER CD BW VL */
    c &= ~(1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14); /* AVX512 VBMI VBMI2 VNNI BITALG VPOPCNTDQ */
    d &= ~(1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25); /* AVX512 4VNNIW 4FMAPS VP2INTERSECT FP16, AMX */
  } else if (leaf == 7) {
    a = b = c = d = 0; /* AVX-VNNI, AVX512-BF16, AMX-FP16 */
  }
  r[REG_RAX] = a;
  r[REG_RBX] = b;
  r[REG_RCX] = c;
  r[REG_RDX] = d;
  r[REG_RIP] += 2;
}

/* V8 sets a handler of its own for WebAssembly; it is kept behind ours. */
int sigaction(int number, const struct sigaction *now, struct sigaction *before) {
  static int (*next)(int, const struct sigaction *, struct sigaction *);
  if (!next) next = dlsym(RTLD_NEXT, "sigaction");
  if (number != SIGSEGV) return next(number, now, before);
  if (before) *before = chained;
  if (now) chained = *now;
  return 0;
}

__attribute__((constructor)) static void start(void) {
  int (*next)(int, const struct sigaction *, struct sigaction *) = dlsym(RTLD_NEXT, "sigaction");
  struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
  ours.sa_sigaction = answer;
  next(SIGSEGV, &ours, NULL);
  if (faulting(1) != 0) {
    static const char problem[] = "avx2.so: this processor or kernel cannot let CPUID fault\n";
    write(2, problem, sizeof problem - 1);
    _exit(70);
  }
}
