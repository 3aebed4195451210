"""The look of every page: one sheet, light and dark, on a phone and on paper."""

STYLE = """
:root{color-scheme:light dark;--back:#fbfcfe;--card:#fff;--sunk:#f2f5f9;--text:#18202c;--faint:#5b6677;--rule:#dfe5ee;--soft:#e8effc;
--good:#11703c;--bad:#b3261e;--warn:#8a5a00;--s0:#2463d6;--s1:#d0690a;--s2:#0f8a5f;--s3:#8443b0;--s4:#c23a2d;--s5:#65728a}
@media(prefers-color-scheme:dark){:root{--back:#0f141b;--card:#171e28;--sunk:#121922;--text:#e7ecf3;--faint:#9ca9bb;--rule:#2b3544;--soft:#1d2c48;
--good:#5ed19a;--bad:#ff8a80;--warn:#f0b849;--s0:#6fa8ff;--s1:#ffa552;--s2:#4fd1a0;--s3:#c79bff;--s4:#ff8a80;--s5:#a9b6c8}}
*{box-sizing:border-box}
html{-webkit-print-color-adjust:exact;print-color-adjust:exact}
body{margin:0 auto;max-width:76rem;padding:1.6rem 1.1rem 4rem;background:var(--back);color:var(--text);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:break-word}
h1{font-size:1.7rem;line-height:1.2;letter-spacing:-.015em;margin:.5rem 0 .35rem}
h2{font-size:1.15rem;letter-spacing:-.01em;margin:2.4rem 0 .7rem}
h3{font-size:.95rem;margin:0 0 .15rem;font-weight:600;overflow-wrap:anywhere}
h3 code{font:.75rem ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;color:var(--faint);font-weight:400;margin-left:.35rem}
p{margin:.3rem 0}
.faint{color:var(--faint)}
.lead{max-width:46rem}
.pill{display:inline-block;border:1px solid currentColor;border-radius:1rem;padding:.05rem .7rem;font-size:.85rem;font-weight:600;margin-right:.6rem}
.tag{display:inline-block;background:var(--soft);border-radius:.3rem;padding:0 .5rem;font-size:.85rem;margin-right:.35rem}
.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.2rem,1fr));gap:.6rem;margin:1.2rem 0 0}
.tile,.chart,.card{background:var(--card);border:1px solid var(--rule);border-radius:.6rem;padding:.75rem .9rem}
.tile b{display:block;font-size:1.2rem;line-height:1.3;font-weight:600}
.tile span{color:var(--faint);font-size:.85rem;line-height:1.35;display:block}
.tile.main{grid-column:1/-1;display:grid;grid-template-columns:minmax(0,auto) minmax(12rem,1fr);gap:.4rem 2.2rem;align-items:center}
.tile.main b{font-size:2.6rem;line-height:1.1;letter-spacing:-.02em}.tile.main span{font-size:.95rem}
.against{display:grid;grid-template-columns:auto minmax(3rem,1fr) auto;gap:.25rem .7rem;align-items:center;font-size:.85rem}
.against i,.bar i{display:block;height:.6rem;border-radius:.3rem;background:var(--s0);min-width:2px}
.against i.base{background:var(--s5)}.against p{grid-column:1/-1;color:var(--faint);margin:0}
.sides{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:0 2rem}
.sides>div{min-width:0}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));gap:.8rem}
.chart{break-inside:avoid;max-width:36rem;min-width:0}
.legend{font-size:.8rem;color:var(--faint);margin:0 0 .2rem;display:flex;flex-wrap:wrap;gap:0 .9rem}
.legend i{display:inline-block;width:.9rem;height:3px;border-radius:2px;margin-right:.35rem;vertical-align:middle}
.legend i.dash{background:repeating-linear-gradient(90deg,var(--faint) 0 4px,transparent 4px 7px)}
svg{display:block;width:100%;height:auto}
svg text{fill:var(--faint);font-size:11px}svg .axis{text-anchor:middle}
.grid{stroke:var(--rule);stroke-width:1}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round;vector-effect:non-scaling-stroke}
.dashed{fill:none;stroke:var(--faint);stroke-width:1.2;stroke-dasharray:5 4;vector-effect:non-scaling-stroke}
.raw{opacity:.3;stroke-width:1}
.mark{fill:var(--card);stroke:var(--text);stroke-width:1.6}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;min-width:min(100%,24rem)}
th,td{text-align:left;vertical-align:top;padding:.28rem 1.2rem .28rem 0;border-bottom:1px solid var(--rule)}
th{font-weight:600;color:var(--faint);font-size:.85rem;white-space:nowrap}
td:first-child{white-space:nowrap}
td.n{text-align:right;white-space:nowrap}th.n{text-align:right}
.about{min-width:0;width:100%}.about td:first-child{color:var(--faint);width:1%}.about td{overflow-wrap:anywhere}
.about tr:last-child td{border-bottom:0}
.bar{width:8rem}.bar i{margin-top:.42rem}
a{color:var(--s0)}
details{border-top:1px solid var(--rule);padding:.55rem 0}
details:last-of-type{border-bottom:1px solid var(--rule)}
summary{cursor:pointer;font-weight:600}details[open] summary{margin-bottom:.5rem}
pre{background:var(--sunk);border:1px solid var(--rule);border-radius:.5rem;padding:.6rem .8rem;margin:.3rem 0 .8rem;
font:.85rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.commands{display:grid;gap:.1rem;margin:0}.commands dt{color:var(--faint);font-size:.85rem}
.commands dd{margin:0}.commands pre{margin:.1rem 0 .5rem;padding:.4rem .7rem}
.made{color:var(--text);background:var(--soft);border-radius:.2rem;box-decoration-break:clone;-webkit-box-decoration-break:clone}
.split{display:flex;height:1.5rem;border-radius:.35rem;overflow:hidden;margin:.2rem 0 .5rem}
.split i{display:block;height:100%}
.key{display:inline-block;width:.75rem;height:.75rem;border-radius:.2rem;margin-right:.45rem}
.confusion{font-size:.8rem;min-width:0;border-spacing:0;margin-top:.3rem}
.confusion td,.confusion th{border:1px solid var(--rule);padding:.18rem .2rem;text-align:center;min-width:1.55rem;white-space:nowrap}
.confusion tbody th{text-align:right;padding-right:.4rem}.confusion thead th:first-child{border-color:transparent;text-align:left}
.confusion thead th{vertical-align:bottom}.confusion .tall span{writing-mode:vertical-rl;transform:rotate(180deg);max-height:10rem;overflow:hidden}
.confusion .axis{border:0;font-weight:400;text-align:left}
.confusion td{background:color-mix(in srgb,var(--s0) calc(var(--share)*75%),transparent)}
.confusion td.off{background:color-mix(in srgb,var(--s1) calc(20% + var(--share)*75%),transparent)}
.heat{width:100%;max-width:24rem;image-rendering:pixelated}
.worst{display:grid;grid-template-columns:repeat(auto-fill,minmax(10rem,1fr));gap:.7rem}
.worst figure{margin:0;background:var(--card);border:1px solid var(--rule);border-radius:.6rem;padding:.7rem;break-inside:avoid;font-size:.85rem}
.worst img{width:100%;max-width:7rem;aspect-ratio:1;object-fit:contain;image-rendering:pixelated;display:block;margin:0 0 .45rem;border-radius:.3rem;background:var(--sunk)}
.worst pre{font-size:.75rem;line-height:1.4;max-height:9rem;overflow:hidden;padding:.4rem .5rem;margin:0 0 .45rem}
.worst.texts{grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr))}
.wide .chart{max-width:none}.wide svg{min-width:46rem}.gap{height:.8rem}
@media(max-width:34rem){body{padding:1.1rem .8rem 3rem}h1{font-size:1.4rem}.tiles{grid-template-columns:repeat(2,minmax(0,1fr))}
.tile.main{grid-template-columns:minmax(0,1fr)}table{min-width:0}th,td{padding-right:.8rem}
td:first-child,th{white-space:normal}td:not(.n){overflow-wrap:anywhere;min-width:4.5rem}td:first-child{min-width:6.5rem}.bar{width:4rem}.about td:first-child{min-width:0;white-space:nowrap}.worst{grid-template-columns:repeat(2,minmax(0,1fr))}}
@media print{@page{margin:14mm}:root{color-scheme:light;--back:#fff;--card:#fff;--sunk:#fff;--text:#000;--faint:#444;--rule:#bbb;--soft:#e6eefc;--good:#0a5c30;--bad:#a01010;--warn:#704800;
--s0:#1f5fce;--s1:#c05f00;--s2:#0f6f50;--s3:#7d3c98;--s4:#a93226;--s5:#555}
body{max-width:none;padding:0;font-size:10.5pt}.charts{grid-template-columns:1fr 1fr}h2{break-after:avoid}tr,.tile,dd{break-inside:avoid}
.tiles{grid-template-columns:repeat(5,1fr)}.worst{grid-template-columns:repeat(4,1fr)}.worst.texts{grid-template-columns:1fr 1fr}
details:not([open]){display:none}}
"""
