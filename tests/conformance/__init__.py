"""Good and bad certificates, and two verifiers that must agree on each: the program's, and one in
JavaScript (`verify.mjs`) that knows nothing but docs/reference/certificate.md.

    python -m tests.conformance.generate      writes the cases and the public keys again
    node tests/conformance/verify.mjs --public_key tests/conformance/key.pem FILE…

`cases.jsonl.gz` has a case a line: its name; `verdict`, which is `good` or the step at which a
verifier must refuse it (`encoding`, `type`, `key`, `signature`, `statement`); why; and the
certificate's bytes, as `text`, or as `base64` where they are no UTF-8 or not printable. All bytes
are a function of this folder's code: the keys are for tests only, and are made from words that
anybody can read.
"""
