"""The words of the paper lab, in English and Chinese."""

WORDS = {
    "en": {
        "digits": "the embedded digits",
        "title": "The paper's Tables 3 to 5, on other data",
        "data": "Data: {}, {} classes, {:,} training images; every figure from {:,} {} images.",
        "split-test": "test",
        "split-validation": "validation",
        "budget": "The same budget for every network: {images:,} training images × {epochs} epochs = {seen:,} images"
        " seen, batches of {batch_size}, seed {seed}; convolutions at {width} of the paper's width, fc6 and fc7 of"
        " {hidden}, input {image_size}×{image_size}; SGD with momentum {momentum}, rate {learning_rate} down a"
        " {schedule}, decay {weight_decay}, dropout {dropout}, gradients clipped at {clip_norm}; no batch norm. The"
        " epoch judged is the best by validation accuracy.",
        "from-chance": "Every network begins from chance (He's normal initialisation by fan-in), unlike the paper's"
        " deeper ones, which began with weights of A.",
        "from-a": "A and A-LRN begin from chance (He's normal initialisation by fan-in). With --from-a, B, C, D and E"
        " took A's convolutions where the place and the shape are the same, among the first two blocks, and its fully"
        " connected layers, much as the paper's did; so they had A's training besides their own.",
        "mirrored": "As in the paper images are mirrored at random in training, and a test averages image and mirror"
        " image at the softmax: digits and letters suffer from that.",
        "sides": "The paper began S = 384 and S = 256-512 with weights of a smaller S; here they begin as others do.",
        "selection": "used for selection: there are no test images, and these chose the epoch, so the figures flatter.",
        "not-started": "{} did not start: the lowest loss of an epoch, in training or validation, is {:.3f}, and"
        " guessing gives {:.3f}.",
        "published": "The figures headed 'the paper' are its own: {}, full width, 224×224, 1,000 classes. They are"
        " another task's: to be read beside these, not compared with them.",
        "table-3": "Table 3: networks at a single test scale ({} images)",
        "table-4": "Table 4: networks at several test scales, averaged ({} images)",
        "table-5": "Table 5: dense evaluation, multi-crop, and both averaged ({} images)",
        "column": "ConvNet",
        "train": "train (S)",
        "test": "test (Q)",
        "method": "method",
        "dense": "dense",
        "multi-crop": "multi-crop",
        "both": "multi-crop & dense",
        "top1": "top-1 error (%)",
        "top5": "top-5 error (%)",
        "interval": "95 %",
        "paper-train": "the paper, ImageNet: S",
        "paper-test": "the paper, ImageNet: Q",
        "paper-top1": "the paper, ImageNet: top-1",
        "paper-top5": "the paper, ImageNet: top-5",
        "did-not-start": "did not start",
        "legend": "S, Q: smallest image side in training and test, in pixels. 95 %: Wilson's interval. In"
        " italics or grey: the paper's ImageNet figures.",
        "other-side": "The paper's Table 5 is of S = 256-512; ours is not: see S.",
        "one-place": "At this size the five poolings leave no more of an image of side Q than of the training crop: the"
        " dense test has one place, at the top left, and cuts off the rest. At the paper's size it has four.",
        "resolution": "Smallest difference of top-1 that {images:,} images tell apart between two columns: {x:.1f}"
        " points (two-sided {size:.0%}, power {power:.0%}, McNemar on the same images). It is the x of"
        " n·x² = ({one:.3f}·√d + {two:.3f}·√(d − x²))², d = max({d:.1f} %, x); {d:.1f} % is the mean share of images"
        " that one column of this table gets right and another wrong.",
        "no-resolution": "Fewer than two columns started: there is no difference to find.",
        "too-few": "{} images are too few to tell two columns apart, whatever the difference.",
        "cost": "network|>parameters|>epoch|>validation top-1|>seconds",
        "written": "Written: {}",
    },
    "zh": {
        "digits": "内置手写数字",
        "title": "论文表 3 至表 5：换一份数据",
        "data": "数据：{}，{} 类，训练图像 {:,} 张；所有数字均来自 {:,} 张{}图像。",
        "split-test": "测试",
        "split-validation": "验证",
        "budget": "各网络的训练预算相同：{images:,} 张训练图像 × {epochs} 轮 = 共 {seen:,} 张次，批大小 {batch_size}，"
        "随机种子 {seed}；卷积通道数为论文的 {width} 倍，fc6 与 fc7 的输出数为 {hidden}，"
        "输入 {image_size}×{image_size}；"
        "SGD，动量 {momentum}，学习率 {learning_rate}（按 {schedule} 下降），权重衰减 {weight_decay}，"
        "随机失活 {dropout}，梯度范数上限 {clip_norm}；不用批归一化。评测的是验证准确率最高的那一轮。",
        "from-chance": "所有网络都从随机权重开始（He 正态初始化，按扇入）；论文则不同，较深的网络以 A 的权重起步。",
        "from-a": "A 与 A-LRN 从随机权重开始（He 正态初始化，按扇入）。本次使用了 --from-a：B、C、D、E 沿用"
        " A 前两个卷积块中位置和形状相同的卷积权重，以及 A 的全连接层，与论文做法相近；"
        "因此除自身的训练外，它们还受益于 A 的训练。",
        "mirrored": "与论文一致：训练时随机镜像图像，测试时对原图与镜像的 softmax 取平均；数字和字母会因此吃亏。",
        "sides": "论文中 S = 384 和 S = 256-512 的网络以较小 S 的权重起步；这里与其他网络的起点相同。",
        "selection": "已用于模型选择：没有测试图像，这些图像参与了轮次的选择，因此数字偏乐观。",
        "not-started": "{} 未能起步：各轮训练与验证损失的最低值为 {:.3f}，而随机猜测为 {:.3f}。",
        "published": "标有“论文”的是论文自己的数字：{}，完整宽度，224×224，1,000 类。那是另一项任务，"
        "仅供并列参考，不能相互比较。",
        "table-3": "表 3：单一测试尺度（{}图像）",
        "table-4": "表 4：多个测试尺度取平均（{}图像）",
        "table-5": "表 5：稠密评测、多裁剪评测，以及二者平均（{}图像）",
        "column": "网络",
        "train": "训练 (S)",
        "test": "测试 (Q)",
        "method": "方法",
        "dense": "稠密",
        "multi-crop": "多裁剪",
        "both": "多裁剪与稠密",
        "top1": "top-1 错误率 (%)",
        "top5": "top-5 错误率 (%)",
        "interval": "95% 区间",
        "paper-train": "论文 ImageNet S",
        "paper-test": "论文 ImageNet Q",
        "paper-top1": "论文 ImageNet top-1",
        "paper-top5": "论文 ImageNet top-5",
        "did-not-start": "未能起步",
        "legend": "S、Q：训练与测试时图像短边的像素数。95% 区间按 Wilson 法计算。"
        "斜体或灰色为论文在 ImageNet 上的数字。",
        "other-side": "论文的表 5 采用 S = 256-512；本表并非如此，见 S 一栏。",
        "one-place": "在这个输入尺寸下，边长为 Q 的图像经五次池化后并不比训练时的裁剪块大：稠密评测只有左上角一个位置，"
        "其余部分被舍去。在论文的尺寸下则有四个位置。",
        "resolution": "{images:,} 张图像能够分辨两列网络之间 top-1 的最小差异：{x:.1f} 个百分点（双侧 {size:.0%}，"
        "功效 {power:.0%}，在相同图像上作 McNemar 检验）。它是方程"
        " n·x² = ({one:.3f}·√d + {two:.3f}·√(d − x²))² 的解 x，其中 d = max({d:.1f}%, x)；"
        "{d:.1f}% 是本表任意两列网络一对一错的图像所占的平均比例。",
        "no-resolution": "成功起步的网络不足两列，没有差异可供分辨。",
        "too-few": "{} 张图像太少，无论差异多大都无法分辨两列网络。",
        "cost": "网络|>参数量|>轮次|>验证 top-1|>秒",
        "written": "已写入：{}",
    },
}
