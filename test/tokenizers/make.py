"""Writes features.jsonl and configs.jsonl: what the reference makes of small tokenizers, one for each thing that a
tokenizer.json or the files beside it can ask for. Needs tokenizers 0.23.2, transformers 5.18, sentencepiece.

    python test/tokenizers/make.py
"""

import base64
import io
import itertools
import json
import os
import random
import tempfile
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

here = Path(__file__).parent
random.seed(0)

texts = [
    "",
    "  Hello,   y'all! I'm 1,234.5 DON'T \n\n x",
    "ÀÉ e\u0301 ΣΑΣ İ ſ ﬁ ½ Ⅷ ٣ ａ１ ™",
    "你好，世界𠀀 ｶﾞ",
    "\ufeffb \ufeff\u0085\u00a0\u3000\u200b\u2028\u00ad\x07\x7f\ufffd",
    "👩‍👩‍👧 🇩🇪 नमस्ते",
    "foo foobar _foo foo_ foo.foo fooé The CAT",
    "<sp>  x <sp>y  <sp> [MASK]<tool>",
    "a-b--c (d|e) $+<=> https://x.y/z?a=b",
    "▁a ▁▁b  ",
]


def byte_model():
    """A model whose ids are bytes."""
    vocab = {"<unk>": 0, **{f"<0x{i:02X}>": i + 1 for i in range(256)}}
    return dict(type="BPE", dropout=None, unk_token="<unk>", continuing_subword_prefix=None, end_of_word_suffix=None,
                fuse_unk=False, byte_fallback=True, ignore_merges=False, vocab=vocab, merges=[])


# Of `pieces`, the first character of a piece has another id than the same one later: ids show where a text was cut.
plain, pieces = byte_model(), byte_model()
pieces["continuing_subword_prefix"] = "·"
pieces["vocab"] = {**plain["vocab"], **{c: 300 + i for i, c in enumerate(dict.fromkeys("".join(texts)))}}
pieces["vocab"].update({"·" + c: 600 + i for i, c in enumerate(dict.fromkeys("".join(texts)))})


def tokenizer(**parts):
    none = dict(version="1.0", truncation=None, padding=None, added_tokens=[], normalizer=None, pre_tokenizer=None,
                post_processor=None, decoder=None, model=plain)
    return {**none, **parts}


def added(id, content, **flags):
    return dict(id=id, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False,
                special=False) | flags


def sequence(key, *parts):
    return {"type": "Sequence", key: list(parts)}


rules = """2122\t54 4D
FB01\t66 69
FF41\t61
FF11\t31
65 301\te9
3000\t20
A0\t20
200B\t
7\t
BD\t31 2044 32
2167\t56 49 49 49
FF76 FF9E\t30AC
"""


def character_map():
    """A map of SentencePiece's with these rules."""
    out = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        file.write(rules)
        file.flush()
        lines = ["hello world this is a test of the thing", "the cat sees two apples and the dog"] * 20
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=out, vocab_size=60,
                                                 hard_vocab_limit=False, normalization_rule_tsv=file.name,
                                                 minloglevel=2)
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(out.getvalue())
    return base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()


def normalizers():
    prepend = dict(type="Prepend", prepend="▁")
    spaces = dict(type="Replace", pattern={"String": " "}, content="▁")
    for name in ["NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents", "ByteLevel"]:
        yield name, dict(type=name)
    for left, right in itertools.product([True, False], repeat=2):
        yield "Strip", dict(type="Strip", strip_left=left, strip_right=right)
    yield "Prepend", prepend
    yield "Replace", spaces
    yield "Replace", dict(type="Replace", pattern={"Regex": "\\s+"}, content="$&$1")
    yield "Sequence", sequence("normalizers", dict(type="NFD"), dict(type="StripAccents"), prepend, spaces)
    for clean, chinese, accents, lower in [(1, 1, None, 1), (1, 0, None, 0), (0, 1, True, 0), (0, 0, False, 1)]:
        yield "BertNormalizer", dict(type="BertNormalizer", clean_text=bool(clean), handle_chinese_chars=bool(chinese),
                                     strip_accents=accents, lowercase=bool(lower))
    yield "Precompiled", dict(type="Precompiled", precompiled_charsmap="@charsmap")


patterns = {
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    "bloom": r" ?[^(\s|[.,!?…。，、।۔،])]+",
}


def pre_tokenizers_of():
    behaviors = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
    for name in ["BertPreTokenizer", "Whitespace", "WhitespaceSplit"]:
        yield name, dict(type=name)
    yield "CharDelimiterSplit", dict(type="CharDelimiterSplit", delimiter="-")
    yield "FixedLength", dict(type="FixedLength", length=3)
    yield "Punctuation", dict(type="Punctuation")
    for behavior in behaviors:
        yield "Punctuation", dict(type="Punctuation", behavior=behavior)
        for invert in [True, False]:
            yield "Split", dict(type="Split", pattern={"Regex": "[aeio\\s]+"}, behavior=behavior, invert=invert)
        yield "Split", dict(type="Split", pattern={"String": " "}, behavior=behavior, invert=False)
    for digits in [True, False]:
        yield "Digits", dict(type="Digits", individual_digits=digits)
    for scheme in ["always", "first", "never"]:
        for split in [True, False]:
            yield "Metaspace", dict(type="Metaspace", replacement="▁", prepend_scheme=scheme, split=split)
    yield "Metaspace", dict(type="Metaspace", replacement="▁", str_rep="▁", add_prefix_space=True)
    for prefix, regex in itertools.product([True, False], repeat=2):
        yield "ByteLevel", dict(type="ByteLevel", add_prefix_space=prefix, trim_offsets=True, use_regex=regex)
    for pattern in patterns.values():
        yield "Split", dict(type="Split", pattern={"Regex": pattern}, behavior="Isolated", invert=False)
    yield "Sequence", sequence("pretokenizers", dict(type="WhitespaceSplit"), dict(type="Metaspace", replacement="▁",
                               prepend_scheme="first", split=True))
    yield "Sequence", sequence("pretokenizers", dict(type="Punctuation", behavior="Contiguous"), dict(type="Digits",
                               individual_digits=True), dict(type="ByteLevel", add_prefix_space=False,
                               trim_offsets=True, use_regex=True))


llama_decoder = sequence("decoders", dict(type="Replace", pattern={"String": "▁"}, content=" "),
                         dict(type="ByteFallback"), dict(type="Fuse"), dict(type="Strip", content=" ", start=1, stop=0))


def decoders_of():
    yield "ByteLevel", dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True)
    for clean in [True, False]:
        yield "WordPiece", dict(type="WordPiece", prefix="##", cleanup=clean)
        yield "CTC", dict(type="CTC", pad_token="<pad>", word_delimiter_token="|", cleanup=clean)
    for scheme in ["always", "never"]:
        yield "Metaspace", dict(type="Metaspace", replacement="▁", prepend_scheme=scheme, split=True)
    yield "BPEDecoder", dict(type="BPEDecoder", suffix="</w>")
    yield "Fuse", dict(type="Fuse")
    yield "ByteFallback", dict(type="ByteFallback")
    yield "Strip", dict(type="Strip", content="a", start=2, stop=1)
    yield "Replace", dict(type="Replace", pattern={"Regex": "[ab]+"}, content="$&")
    yield "Sequence", llama_decoder


words = ["<unk>", "<pad>", "|", "a", "b", "ab", " a", "  a ", "aa", "aba", "##ing", "##", "▁", "▁a", "▁▁b", "a▁b",
         "</w>", "a</w>", "b</w>c", ".", "!", "?", ",", "'", " ' ", "n't", "'s", "x do not y", "Ġ", "Ġa", "Ã", "©", "é",
         "€", "<s>", *[f"<0x{i:02X}>" for i in (0x41, 0x80, 0xC3, 0xA9, 0xE2, 0x82, 0xAC, 0xEF, 0xBB, 0xBF)], "<0xZZ>",
         "<0x4a>", "<0x1>"]
word_level = dict(type="WordLevel", vocab={word: i for i, word in enumerate(words)}, unk_token="<unk>")


def templates():
    tokens = {"[C]": dict(id="[C]", ids=[5, 6], tokens=["a", "b"]), "[S]": dict(id="[S]", ids=[7], tokens=["c"])}
    special = lambda id: {"SpecialToken": {"id": id, "type_id": 0}}
    body = {"Sequence": {"id": "A", "type_id": 0}}
    single = [special("[C]"), body, special("[S]")]
    template = dict(type="TemplateProcessing", single=single, pair=single, special_tokens=tokens)
    level = dict(type="ByteLevel", add_prefix_space=True, trim_offsets=False, use_regex=True)
    yield "TemplateProcessing", template
    yield "BertProcessing", dict(type="BertProcessing", sep=["[SEP]", 9], cls=["[CLS]", 8])
    yield "RobertaProcessing", dict(type="RobertaProcessing", sep=["</s>", 2], cls=["<s>", 1], trim_offsets=True,
                                    add_prefix_space=True)
    yield "ByteLevel", level
    yield "Sequence", sequence("processors", level, template)


def trained(model, trainer):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    lines = [*texts, "foo bar baz foo foobar hello world", "the cat sees two apples"] * 3
    tokenizer.train_from_iterator(lines, trainer)
    return json.loads(tokenizer.to_str())["model"]


def models_of():
    special = dict(special_tokens=["<unk>"], show_progress=False)
    for extra in [{}, dict(continuing_subword_prefix="##"), dict(end_of_word_suffix="</w>")]:
        model = trained(models.BPE(unk_token="<unk>", **extra),
                        trainers.BpeTrainer(vocab_size=110, limit_alphabet=40, **special, **extra))
        for fuse, fallback, ignore, unknown in [(0, 0, 0, 1), (1, 0, 1, 1), (0, 1, 0, 1), (1, 1, 1, 0), (0, 0, 1, 0)]:
            vocab = dict(model["vocab"])
            if fallback:
                # Without one byte: characters that need it are unknown.
                vocab |= {f"<0x{i:02X}>": 500 + i for i in range(256) if i != 0xE4}
            yield "BPE", dict(model, vocab=vocab, fuse_unk=bool(fuse), byte_fallback=bool(fallback),
                              ignore_merges=bool(ignore), unk_token="<unk>" if unknown else None)
        if not extra:
            yield "BPE", dict(model, merges=[" ".join(pair) for pair in model["merges"]])
    word_piece = trained(models.WordPiece(unk_token="<unk>"), trainers.WordPieceTrainer(vocab_size=90, limit_alphabet=40, **special))
    yield "WordPiece", word_piece
    yield "WordPiece", dict(word_piece, max_input_chars_per_word=4, continuing_subword_prefix="")
    yield "WordLevel", trained(models.WordLevel(unk_token="<unk>"), trainers.WordLevelTrainer(vocab_size=20, **special))
    unigram = trained(models.Unigram(), trainers.UnigramTrainer(vocab_size=240, unk_token="<unk>", **special))
    unigram["vocab"] = [piece for piece in unigram["vocab"] if piece[0] not in "你好世😁éÀ"]
    yield "Unigram", unigram
    yield "Unigram", dict(unigram, byte_fallback=True, vocab=unigram["vocab"] + [[f"<0x{i:02X}>", -20.0] for i in range(256)])


def flags():
    normals = dict([("none", None), ("lower", dict(type="Lowercase")), ("llama", sequence("normalizers",
                   dict(type="Prepend", prepend="▁"), dict(type="Replace", pattern={"String": " "}, content="▁")))])
    for normalizer in normals.values():
        for on in [[], ["lstrip"], ["rstrip"], ["single_word"], ["normalized"], ["special"],
                   ["normalized", "single_word"], ["normalized", "lstrip", "rstrip"], ["lstrip", "special"]]:
            own = {flag: True for flag in on}
            tokens = [added(0, "<unk>", special=True), *[added(600 + i, content, **own) for i, content in
                      enumerate(["foo", "<sp>", "[MASK]", "The CAT", "<tool>"])], added(9, "foobar")]
            yield "added_tokens", tokenizer(normalizer=normalizer, added_tokens=tokens, decoder=llama_decoder)


def written(name, part, json_, more=0):
    reference = Tokenizer.from_str(json.dumps(json_).replace("@charsmap", charsmap))
    cases = []
    for i, text in enumerate(texts):
        ids = reference.encode(text).ids
        case = [i, ids]
        if ids:
            case += [reference.decode(ids), reference.decode(ids, skip_special_tokens=False)]
        cases.append(case)
    end = max(reference.get_vocab().values()) + 2
    for _ in range(more):
        ids = [random.randrange(end) for _ in range(random.randrange(1, 12))]
        try:
            cases.append([None, ids, reference.decode(ids), reference.decode(ids, skip_special_tokens=False)])
        except BaseException:  # Rust panics where a decoder is left with nothing.
            continue
    for key, shared in [("@plain", plain), ("@pieces", pieces), ("@words", word_level)]:
        if json_["model"] is shared:
            json_ = dict(json_, model=key)
    return dict(part=part, name=name, json=json_, cases=cases)


def features():
    yield dict(texts=texts, charsmap=charsmap, plain=plain, pieces=pieces, words=word_level)
    for name, part in normalizers():
        yield written(name, "normalizer", tokenizer(normalizer=part))
    for name, part in pre_tokenizers_of():
        tokens = [added(900, "<sp>")] if name in ["Metaspace", "ByteLevel"] else []
        yield written(name, "pre_tokenizer", tokenizer(pre_tokenizer=part, model=pieces, added_tokens=tokens))
    for name, part in templates():
        yield written(name, "post_processor", tokenizer(post_processor=part))
    for name, part in decoders_of():
        tokens = [added(words.index("<s>"), "<s>", special=True), added(999, "é!")]
        yield written(name, "decoder", tokenizer(decoder=part, model=word_level, added_tokens=tokens,
                      pre_tokenizer=dict(type="WhitespaceSplit")), more=25)
    for name, model in models_of():
        yield written(name, "model", tokenizer(model=model, pre_tokenizer=dict(type="Whitespace")), more=3)
    for name, json_ in flags():
        yield written(name, "added_tokens", json_)


def configs():
    base = tokenizer(added_tokens=[added(0, "<unk>", special=True)],
                     decoder=sequence("decoders", dict(type="ByteFallback"), dict(type="Fuse")))
    config, file = "tokenizer_config.json", "tokenizer.json"
    spelled = dict(lstrip=False, rstrip=False, single_word=False, normalized=False)
    roles = dict(eos_token="</s>", bos_token="<e>", pad_token="<pad>", unk_token="<unk>", mask_token="[M]", image_token="<im>")
    yield "roles", {file: base, config: roles}
    yield "an object as eos", {file: base, config: {"eos_token": {"__type": "AddedToken", "content": "</s>", **spelled, "lstrip": True}}}
    for special in [True, False]:
        declared = {"257": {"content": "<x2>", "special": special, **spelled},
                    "300": {"content": "<x1>", "special": special, **spelled, "rstrip": True}}
        yield f"added_tokens_decoder, special {special}", {file: base, config: {"added_tokens_decoder": declared}}
        yield f"a role's token declared, special {special}", {file: base, config: {"eos_token": "<x2>", "added_tokens_decoder": declared}}
    own = dict(base, added_tokens=[*base["added_tokens"], added(257, "</s>")])
    yield "a role's token of the file", {file: own, config: {"eos_token": "</s>"}}
    yield "a role's token of the file, not declared", {file: own, config: {"eos_token": "</s>", "added_tokens_decoder": {}}}
    for key in ["additional_special_tokens", "extra_special_tokens"]:
        yield key, {file: base, config: {key: ["<x1>", {"__type": "AddedToken", "content": "<x2>", **spelled, "special": True}]}}
    yield "extra roles", {file: base, config: {"extra_special_tokens": {"image_token": "<im>", "boi_token": "<x1>"}}}
    yield "added_tokens.json", {file: base, config: {"eos_token": "<x1>"}, "added_tokens.json": {"<x1>": 258, "<x2>": 257}}
    yield "special_tokens_map.json", {file: base, config: {"eos_token": "<e>"}, "special_tokens_map.json":
                                      {"eos_token": "</s>", "pad_token": {"content": "<pad>", **spelled, "rstrip": True}}}
    yield "special_tokens_map.json beside declared tokens", {file: base, config: {"eos_token": "<e>", "added_tokens_decoder": {}},
                                                             "special_tokens_map.json": {"eos_token": "</s>"}}
    ends = dict(bos_token="<e>", eos_token="</s>", add_bos_token=True, add_eos_token=True)
    yield "add_bos_token", {file: base, config: ends}
    yield "add_bos_token and a post-processor", {file: dict(base, post_processor=dict(type="BertProcessing", sep=["x", 9], cls=["y", 8])),
                                                 config: dict(ends, add_bos_token=False)}
    yield "split_special_tokens", {file: base, config: {"eos_token": "<e>", "split_special_tokens": True}}
    vocab = {word: i for i, word in enumerate(["<unk>", "a", ".", "'s", "it", "ok", "?", "'"])}
    for clean in [True, False]:
        for model in [dict(type="WordLevel", vocab=vocab, unk_token="<unk>"), dict(plain, vocab=vocab, byte_fallback=False)]:
            yield f"clean up {clean}, {model['type']}", {
                file: tokenizer(model=model, pre_tokenizer=dict(type="WhitespaceSplit")),
                config: {"clean_up_tokenization_spaces": clean}}
    yield "truncation and padding", {file: dict(
        base, truncation=dict(direction="Right", max_length=2, strategy="LongestFirst", stride=0),
        padding=dict(strategy={"Fixed": 9}, direction="Right", pad_to_multiple_of=None, pad_id=0, pad_type_id=0, pad_token="<unk>"))}
    yield "ids with gaps", {file: dict(base, added_tokens=[added(0, "<unk>", special=True), added(400, "<x1>"), added(270, "<x2>")])}


def opened(name, files):
    prompts = ["a b", "<e>a</s>x", "hi <im> x<pad> y</s>", "foo<x1> <x2>z", "[M] m", "it 's . ok ? a ' a"]
    with tempfile.TemporaryDirectory() as folder:
        for file, json_ in files.items():
            (Path(folder) / file).write_text(json.dumps(json_))
        reference = AutoTokenizer.from_pretrained(folder)
        cases = [[text, ids := reference.encode(text), reference.decode(ids, skip_special_tokens=True), reference.decode(ids)]
                 for text in prompts]
        roles = {role: getattr(reference, f"{role}_token_id") for role in ["eos", "bos", "pad", "unk"]}
    compact = {file: dict(json_, model="@plain") if json_.get("model") is plain else json_ for file, json_ in files.items()}
    return dict(name=name, files=compact, roles=roles, cases=cases)


def write(file, lines):
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    (here / file).write_text(text)


charsmap = character_map()
write("features.jsonl", features())
write("configs.jsonl", (opened(*config) for config in configs()))
