"""Texts on which two ways of running the same weights are compared: every length, several scripts, numbers, nothing."""

_CLAUSE = (
    "The Supplier shall deliver the goods described in Schedule 2 within thirty (30) days of the order date, unless "
    "the parties agree otherwise in writing; risk passes on delivery and title passes on payment in full. "
)

SAMPLES: tuple[str, ...] = (
    "",
    "?",
    "a",
    "42",
    "leave policy",
    "How many days of annual leave do I have?",
    "What is the fee after the amendment of 1 March?",
    "Who signs off the lab results?",
    "invoice 12-345/A",
    "§ 4.2 (b) notwithstanding the foregoing",
    "5 mg twice daily, not with food",
    "Paracetamol 500 mg tablets, 20 pcs, EUR 3.95 incl. VAT",
    "The meeting was adjourned at 17:45.",
    "Patients must be identified by name and date of birth before a sample is taken.",
    "Personal data are kept for ten years after the last treatment and then destroyed under supervision.",
    "Either party may terminate this agreement for convenience upon ninety days' written notice.",
    "Der Urlaub beträgt 30 Arbeitstage im Jahr und ist bis zum 31. März des Folgejahres zu nehmen.",
    "Le contrat est résilié de plein droit en cas de défaut de paiement.",
    "El paciente debe firmar el consentimiento informado antes de la intervención.",
    "Договор вступает в силу с даты подписания.",
    "契約は署名日に発効する。",
    "يسري العقد من تاريخ التوقيع.",
    "naïve café – “quoted”, it’s 3½ × 10⁶",
    "e-mail: office@example.org, tel. +00 000 000, https://example.org/a?b=c&d=e#f",
    "def f(x): return {k: v for k, v in x.items() if v is not None}",
    "| Item | Price |\n|---|---|\n| Blood count | 12.50 |\n| Urine test | 8.00 |",
    "pneumonoultramicroscopicsilicovolcanoconiosis " * 4,
    "word " * 100,
    _CLAUSE,
    _CLAUSE * 3,
    _CLAUSE * 6,
    _CLAUSE * 40,
)
