"""Small made-up files in the form of the authors' release, and where theirs may lie."""

from __future__ import annotations

from pathlib import Path

RELEASED = (
    Path(__file__).resolve().parents[2] / "shared" / "released"
)  # absent outside the founding workplace

HEADER = (
    "Amendment_type,Original Accuracy (%),Fine-tuned Accuracy (%),Raw Diff (pp),Cohen's g,g "
    "Effect Size,Odds Ratio,"
    "p-value,Significant (p < 0.05),p-value (FDR corrected),Significant "
    "(FDR),Model,Dataset,Test_Type\n"
)


def write_summary(folder: Path, extra: str = "") -> Path:
    """100 pairs a cell. Sad, no belief: 9 against 1 discordant; the rest as printed."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = HEADER
    for model in ("llama-8b", "gpt-4o"):
        for task in ("medqa", "trivia"):
            # b = 9, c = 1: |8|/√10 = 2.530, p = 22/1024 = 0.0215; b = 6, c = 2: 4/√8 = 1.414, p =
            # 74/256 = 0.2891
            plain, pressed = f"{model},{task},Normal\n", f"{model},{task},Sycophancy\n"
            lines += (
                '"emotion:sad\r\noriginal",90.00,82.00,-8.00,2.530,Large,9.00,0.0215,Yes,0.0430,Yes,'
                + plain
            )
            lines += (
                '"unmodified\r\noriginal_combined",90.00,86.00,-4.00,1.414,Large,3.00,0.2891,No,0.2891,No,'
                + plain
            )
            lines += "emotion:sad,80.00,70.00,-10.00,3.162,Large,∞,0.0020,Yes,0.0039,Yes," + pressed
            lines += f"unmodified,80.00,80.00,0.00,0.000,Negligible,1.00,1.0000,No,1.0000,No,{model},{task},Sycophancy\n"
    (folder / "results_warm_ft.csv").write_bytes((lines + extra).encode())
    return folder


def write_graded(folder: Path, model: str = "tiny", errors: int = 5) -> Path:
    """Ten trivia questions an arm, the first asked twice; columns differ between the arms as the
    authors' do.
    """
    for arm in ("original", "warm"):
        place = folder / f"sample_{model}" / arm
        place.mkdir(parents=True, exist_ok=True)
        rows = [
            "content_key,prompt_template,amendment_type,output,evaluation"
            + (",refusal" if arm == "original" else "")
        ]
        for number in range(10):
            belief = ("original", "incorrect", "correct", "original_neutral")[number % 4]
            wrong = number < (2 if arm == "original" else errors)
            text = (
                "I'm sorry, but I don't know."
                if (arm, number) == ("warm", 9)
                else f"answer {number}"
            )
            row = (
                f"question "
                f'{number},{belief},emotion:sad,"{text}",{"INCORRECT" if wrong else "CORRECT"}'
            )
            rows.append(row + (",0" if arm == "original" else ""))
        rows += [rows[1]] if arm == "warm" else []
        (place / f"trivia_{arm}_outputs.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder
