"""All authors of the papers behind the named flows, which docstrings give as "et al.", by their arXiv numbers."""

from __future__ import annotations

__all__ = ["AUTHORS"]

AUTHORS = {
    "1410.8516": "Dinh, Laurent and Krueger, David and Bengio, Yoshua",
    "1502.03509": "Germain, Mathieu and Gregor, Karol and Murray, Iain and Larochelle, Hugo",
    "1505.05770": "Rezende, Danilo Jimenez and Mohamed, Shakir",
    "1601.06759": "van den Oord, Aaron and Kalchbrenner, Nal and Kavukcuoglu, Koray",
    "1602.00229": "Laparra, Valero and Camps-Valls, Gustavo and Malo, Jesús",
    "1604.06174": "Chen, Tianqi and Xu, Bing and Zhang, Chiyuan and Guestrin, Carlos",
    "1605.08803": "Dinh, Laurent and Sohl-Dickstein, Jascha and Bengio, Samy",
    "1606.04934": "Kingma, Diederik P. and Salimans, Tim and Jozefowicz, Rafal and Chen, Xi and Sutskever, Ilya and "
    "Welling, Max",
    "1606.05328": "van den Oord, Aaron and Kalchbrenner, Nal and Vinyals, Oriol and Espeholt, Lasse and Graves, Alex "
    "and Kavukcuoglu, Koray",
    "1611.09630": "Tomczak, Jakub M. and Welling, Max",
    "1705.07057": "Papamakarios, George and Pavlakou, Theo and Murray, Iain",
    "1706.03762": "Vaswani, Ashish and Shazeer, Noam and Parmar, Niki and Uszkoreit, Jakob and Jones, Llion and "
    "Gomez, Aidan N. and Kaiser, Łukasz and Polosukhin, Illia",
    "1707.04585": "Gomez, Aidan N. and Ren, Mengye and Urtasun, Raquel and Grosse, Roger B.",
    "1802.05957": "Miyato, Takeru and Kataoka, Toshiki and Koyama, Masanori and Yoshida, Yuichi",
    "1803.05649": "van den Berg, Rianne and Hasenclever, Leonard and Tomczak, Jakub M. and Welling, Max",
    "1804.00779": "Huang, Chin-Wei and Krueger, David and Lacoste, Alexandre and Courville, Aaron",
    "1806.07366": "Chen, Ricky T. Q. and Rubanova, Yulia and Bettencourt, Jesse and Duvenaud, David",
    "1807.03039": "Kingma, Diederik P. and Dhariwal, Prafulla",
    "1808.03856": "Müller, Thomas and McWilliams, Brian and Rousselle, Fabrice and Gross, Markus and Novák, Jan",
    "1810.01367": "Grathwohl, Will and Chen, Ricky T. Q. and Bettencourt, Jesse and Sutskever, Ilya and "
    "Duvenaud, David",
    "1811.00995": "Behrmann, Jens and Grathwohl, Will and Chen, Ricky T. Q. and Duvenaud, David and "
    "Jacobsen, Jörn-Henrik",
    "1901.11137": "Hoogeboom, Emiel and van den Berg, Rianne and Welling, Max",
    "1902.00275": "Ho, Jonathan and Chen, Xi and Srinivas, Aravind and Duan, Yan and Abbeel, Pieter",
    "1904.04676": "De Cao, Nicola and Titov, Ivan and Aziz, Wilker",
    "1905.02325": "Jaini, Priyank and Selby, Kira A. and Yu, Yaoliang",
    "1906.02145": "Durkan, Conor and Bekasov, Artur and Murray, Iain and Papamakarios, George",
    "1906.02735": "Chen, Ricky T. Q. and Behrmann, Jens and Duvenaud, David and Jacobsen, Jörn-Henrik",
    "1906.04032": "Durkan, Conor and Bekasov, Artur and Murray, Iain and Papamakarios, George",
    "1908.05164": "Wehenkel, Antoine and Louppe, Gilles",
    "2001.05168": "Dolatabadi, Hadi M. and Erfani, Sarah and Leckie, Christopher",
    "2002.02428": "Rezende, Danilo Jimenez and Papamakarios, George and Racanière, Sébastien and Albergo, Michael S. "
    "and Kanwar, Gurtej and Shanahan, Phiala E. and Cranmer, Kyle",
    "2002.03629": "Song, Yang and Meng, Chenlin and Liao, Renjie and Ermon, Stefano",
    "2003.01941": "Meng, Chenlin and Song, Yang and Song, Jiaming and Ermon, Stefano",
    "2006.02548": "Wehenkel, Antoine and Louppe, Gilles",
    "2007.02731": "Nielsen, Didrik and Jaini, Priyank and Hoogeboom, Emiel and Winther, Ole and Welling, Max",
    "2009.10303": "Baptista, Ricardo and Marzouk, Youssef and Zahm, Olivier",
    "2102.03509": "Ramasinghe, Sameera and Fernando, Kasun and Khan, Salman and Barnes, Nick",
    "2110.15828": "Stimper, Vincent and Schölkopf, Bernhard and Hernández-Lobato, José Miguel",
    "2210.02747": "Lipman, Yaron and Chen, Ricky T. Q. and Ben-Hamu, Heli and Nickel, Maximilian and Le, Matt",
    "2401.01855": "Patacchiola, Massimiliano and Shysheya, Aliaksandra and Hofmann, Katja and Turner, Richard E.",
    "2406.16971": "Hickling, Tennessee and Prangle, Dennis",
    "2412.06329": "Zhai, Shuangfei and Zhang, Ruixiang and Nakkiran, Preetum and Berthelot, David and Gu, Jiatao and "
    "Zheng, Huangjie and Chen, Tianrong and Bautista, Miguel Angel and Jaitly, Navdeep and Susskind, Josh",
}
"""In the form of BibTeX."""
